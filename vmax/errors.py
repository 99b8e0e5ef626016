"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """A mistake in a file, a configuration or a command line.

    Its text is one line that names the place (file, column, row or config key), what was found and what is allowed.
    Commands print it without a traceback and exit with status 2.
    """
