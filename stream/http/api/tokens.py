"""Bearer tokens from a file that is read again when it changes."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from stream.errors import ConfigError
from stream.logs import log_event
from stream.wire.text_encoding import read_text

__all__ = ["TokenFile"]

LOOK_SECONDS = 1.0
"""How often the file's date is looked at, at most."""
_Stamp = tuple[int, int, int]


class TokenFile:
    """The tokens that are valid now: one a line; empty lines and those that begin with # do not count.

    Only their SHA-256 is held, and all are compared in constant time. A file that cannot be read any more leaves the
    tokens as they are, and says so in the log; an empty one refuses everybody.

    Args:
        path: the file.
        clock: monotonic seconds.

    Raises:
        ConfigError: the file cannot be read, or holds no token.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        try:
            self._stamp = _stamp_of(path)
            self._digests = _digests_in(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"serve.tokens_file: expected a readable file, got {path}: {error}") from error
        if not self._digests:
            raise ConfigError(f"serve.tokens_file: expected a token a line, found none in {path}")

    def holder(self, token: str) -> str | None:
        """Return a name for who has this token (a part of its hash), or None when it is not valid."""
        self._look()
        digest = _digest(token)
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:16] if any(found) else None

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            if (stamp := _stamp_of(self._path)) != self._stamp:
                self._digests, self._stamp = _digests_in(self._path), stamp
                log_event(logging.INFO, "tokens_read", file=self._path, tokens=len(self._digests))
        except (OSError, UnicodeDecodeError) as error:
            log_event(logging.WARNING, "tokens_kept", file=self._path, reason=str(error))


def _stamp_of(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digests_in(path: Path) -> list[bytes]:
    lines = (line.strip() for line in read_text(path).splitlines())
    return [_digest(line) for line in lines if line and not line.startswith("#")]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
