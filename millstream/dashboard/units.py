"""Numbers as a person reads them."""

import math
from collections.abc import Sequence

from millstream.dashboard.panels import Unit

__all__ = ["readable"]

_DURATIONS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_RATES = {"eps": "/s", "ops": "/s"}


def readable(value: float, unit: Unit) -> str:
    """Return the value with its unit, in three digits."""
    if math.isnan(value):
        return "none"
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "percentunit":
        return f"{_digits(value * 100)} %"
    if unit == "s":
        return _scaled(value, _DURATIONS)
    if unit == "bytes":
        return _scaled(value, _BYTES)
    return _scaled(value, _LARGE).rstrip() + _RATES.get(unit, "")


def _scaled(value: float, scales: Sequence[tuple[float, str]]) -> str:
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    last_factor, last_name = scales[-1]
    factor, name = next(((factor, name) for factor, name in scales if abs(value) >= factor), (last_factor, last_name))
    return f"{_digits(value / factor)} {name}"


def _digits(value: float) -> str:
    """Return three digits, and no zeros that say nothing."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
