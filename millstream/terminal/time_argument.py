"""A moment in the past, as people type it."""

import re
from datetime import UTC, datetime

from stream.errors import ConfigError

__all__ = ["since_ms"]

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def since_ms(text: str, now_ms: int) -> int:
    """Return the moment in ms since the Unix epoch; what is before it, which no broker can be asked for, is 0.

    Args:
        text: so long ago, as in `90s`, `15m`, `2h`, `7d`; or a time, as in `2026-03-01` or `2026-03-01T12:00+01:00`
            (UTC where none is named).
        now_ms: now.

    Raises:
        ConfigError: it is neither.
    """
    if ago := re.fullmatch(r"(\d{1,9})(s|m|min|h|d|w)", text.strip()):
        return max(0, now_ms - int(ago[1]) * SECONDS[ago[2]] * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
        return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ConfigError(f"--since {text}: expected 90s, 15m, 2h, 7d, or a time as 2026-03-01T12:00") from None
