"""Logs: a fixed event name plus fields, for people or as JSON, on standard error."""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from stream.config.settings import LogSettings
from stream.wire.escaping import printable

__all__ = ["configure_logs", "log_event"]

LOGGER = logging.getLogger("millstream")
FLOOD_SECONDS = 10.0
"""How often one line of a library's code may log."""


def log_event(level: int, event: str, **fields: Any) -> None:
    """Log one event.

    Args:
        level: a level of `logging`.
        event: fixed name, such as `batch_committed`.
        fields: what belongs to it; text from outside is escaped.
    """
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, event, extra={"fields": fields})


def configure_logs(config: LogSettings) -> None:
    """Send all logs to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    handler.addFilter(_NoFloods(time.monotonic))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(config.level)


class _NoFloods(logging.Filter):
    """Lets a line of somebody else's code through once in a while: a client without a broker says it over and over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == LOGGER.name:
            return True
        place = (record.pathname, record.lineno)
        is_new = self._clock() - self._said.get(place, -FLOOD_SECONDS) >= FLOOD_SECONDS
        if is_new:
            self._said[place] = self._clock()
        return is_new


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", {})
        parts = [f"{name}={_text(value)}" for name, value in fields.items()]
        line = f"{clock} {record.levelname:<7} {printable(record.getMessage())} {' '.join(parts)}".rstrip()
        return line + (_indented(self.formatException(record.exc_info)) if record.exc_info else "")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _printable_json(json.dumps(line, ensure_ascii=False, default=str))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    # Quoted, a value cannot add a field of its own.
    is_plain = text.isprintable() and not any(character in ' "=' for character in text)
    return text if is_plain else _printable_json(json.dumps(text, ensure_ascii=False))


def _printable_json(text: str) -> str:
    """Return JSON without a character that does not show: its own escapes stand for those that it leaves alone."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _indented(trace: str) -> str:
    """Return a traceback below its line, so far to the right that no text in it can pass for a line of the log."""
    return "".join(f"\n    {printable(line)}" for line in trace.splitlines())
