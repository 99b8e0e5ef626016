"""What is unpickled while something runs: Python tells of every class that a pickle names, whoever reads it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_found: list[str] | None = None


def _heard(event: str, arguments: tuple) -> None:
    if _found is not None and event == "pickle.find_class":
        _found.append(".".join(map(str, arguments)))


sys.addaudithook(_heard)  # cannot be taken away again, only be told to be silent


@contextmanager
def classes_unpickled() -> Iterator[list[str]]:
    """The classes named by pickles that are read inside of it."""
    global _found
    _found = found = []
    try:
        yield found
    finally:
        _found = None
