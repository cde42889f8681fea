"""How often one client may ask: a token bucket each, and a bounded number of them."""

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["RateLimit"]

MAX_CLIENTS = 65_536


class RateLimit:
    """A bucket per client that fills at a rate and holds a burst.

    Args:
        per_second: what flows in; 0: no limit.
        burst: what a bucket holds.
        clock: monotonic seconds.
        max_clients: most buckets; the longest unused one leaves, full or not.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and as of when

    def wait_seconds(self, client: str) -> float:
        """Return 0 and count a request of this client, or how long it has to wait."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        left, since = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        is_allowed = left >= 1
        self._buckets[client] = (left - 1 if is_allowed else left, now)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) / self._per_second
