"""What stands between the page and the rest of the web: headers, host names, and how often users are looked up."""

import ipaddress
from collections.abc import Callable

__all__ = ["HEADERS", "TokenBucket", "is_loopback", "names_this_machine"]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of everything that the page serves: nothing from elsewhere runs, nothing elsewhere may read or frame it."""


def is_loopback(host: str) -> bool:
    """Return whether an address or name can only be reached from this machine."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def names_this_machine(host_header: str, bound_host: str) -> bool:
    """Return whether a request may be answered: one to a port of this machine alone must name this machine.

    Otherwise a web site whose name is made to lead to 127.0.0.1 could read the page in a visitor's browser.
    """
    if not is_loopback(bound_host):
        return True
    if host_header.startswith("["):
        return is_loopback(host_header.partition("]")[0])
    return is_loopback(host_header.partition(":")[0])


class TokenBucket:
    """Lets so many through at once, and then so many a second.

    Args:
        per_second: how fast it fills.
        burst: how many it holds.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._tokens, self._filled = float(burst), clock()

    def take(self) -> bool:
        """Return whether one more may pass."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
