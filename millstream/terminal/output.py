"""What the command prints reaches its reader whatever he reads with: terminals that are not UTF-8, full disks.

What comes from outside is written out by `stream.wire.escaping` where it is printed to people; JSON escapes by itself.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stream.errors import MillstreamError

__all__ = ["OutputLost", "printed"]

_ERRORS = "millstream"


class OutputLost(MillstreamError):
    """What was printed could not be written."""


@contextmanager
def printed() -> Iterator[None]:
    """Print within: what a terminal cannot show is escaped as in JSON, and all of it is written at the end.

    Raises:
        OutputLost: the disk is full, or the like.
    """
    codecs.register_error(_ERRORS, _escaped)
    before = sys.stdout
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_ERRORS)
    if isinstance(before, io.TextIOWrapper) and before is sys.__stdout__:
        raw = _Output(before.fileno(), "wb", closefd=False)
        is_by_line = before.line_buffering
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), before.encoding, _ERRORS, line_buffering=is_by_line)
    try:
        yield
        _flush()
    except OutputLost:
        _let_go()
        raise
    except BaseException:
        with suppress(OutputLost):
            _flush()
        raise


class _Output(io.FileIO):
    """A descriptor that says of itself when it cannot be written."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # the reader has left, which is no error
            raise
        except OSError as error:
            raise OutputLost(f"what was printed could not be written: {error.strerror}") from error


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go()


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Write a character as JSON does, so that JSON stays JSON in every encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = (units[place : place + 2].hex() for place in range(0, len(units), 2))
    return "".join(f"\\u{digits}" for digits in pairs), error.end


def _let_go() -> None:
    """Have the interpreter not try again at its end, which it would complain of."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
