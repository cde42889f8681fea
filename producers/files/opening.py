"""Files that a person named: what goes wrong with one is an error with its name and with what was expected of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from stream.errors import ConfigError

__all__ = ["expecting"]


@contextmanager
def expecting(what: str, where: object, *also: type[Exception]) -> Iterator[None]:
    """Turn the errors of opening, reading or writing a file into a `ConfigError`.

    Args:
        what: what was expected: `a file that can be written`.
        where: the file as the person wrote it, with the flag that it came by.
        also: further errors of a library that reads the file.

    Raises:
        ConfigError: the file cannot be opened, read or written, or its bytes mean nothing.
    """
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, *also)  # text in another encoding is a ValueError
    try:
        yield
    except BrokenPipeError:
        raise  # a reader that leaves early (`| head`) is no fault of the file
    except kinds as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"{where}: expected {what}: {reason}") from error
