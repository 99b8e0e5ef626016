"""The one exception for mistakes that the user can mend."""

import re


class UserError(Exception):
    """A mistake in a file, a configuration or a command line.

    Its text is one line that names the place (file, column, row or config key), what was found and what is allowed;
    control characters in what was found are shown by their escapes. Commands print it without a traceback and exit with
    status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], message))
