"""Makes a stream of any size, for what real files of a fitting size are not at hand for: time and memory.

    python -m benchmarks.quality.synthetic --events 1500000 --items 73000 --users 300000 --out large.parquet

Visits come at random over the time span. A visitor stays in one family of items, most often in the one liked best, and
takes either the item after the last one (so that order tells something) or a frequent one of the family. How frequent
families, items and users are is a law of Zipf. Figures of quality on such a stream say nothing about real ones.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.quality.errors import QualityError

__all__ = ["Shape", "made"]

Int64 = npt.NDArray[np.int64]

FAMILY = 50
"""Items of a family."""
ITEM_SKEW = 0.8
"""Items of a family, and families: the one of place r has a share proportional to r ** -0.8."""
USER_SKEW = 0.5
"""Users: few come all the time."""
FAITHFUL = 0.7
"""Share of visits to the visitor's own family."""
ONWARD = 0.5
"""Share of steps to the item after the last one."""
MEAN_VISIT = 5.0
"""Events of a visit, geometrically distributed and cut at ``MOST``."""
MOST = 40
SPAN_MS = 180 * 24 * 3600 * 1000
STEP_MS = 30_000
"""Between two events of a visit."""
BEGINS_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the stream is."""

    num_events: int
    num_items: int
    num_users: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            QualityError: one of them is not positive, or the seed is negative.
        """
        for name in ("num_events", "num_items", "num_users"):
            if getattr(self, name) < 1:
                raise QualityError(f"{name}: expected a whole number >= 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise QualityError(f"seed: expected a whole number >= 0, got {self.seed}")


def made(shape: Shape) -> pa.Table:
    """Return ``shape.num_events`` events in the order of time: user, item and session as text, ts in milliseconds.

    The same shape gives the same table. Items and users that chance leaves out do not occur.
    """
    rng = np.random.default_rng(shape.seed)
    num_families = -(-shape.num_items // FAMILY)
    lengths = np.minimum(rng.geometric(1.0 / MEAN_VISIT, shape.num_events), MOST)
    num_visits = int(np.searchsorted(np.cumsum(lengths), shape.num_events)) + 1
    lengths = lengths[:num_visits]

    users = _zipf(rng, shape.num_users, num_visits, USER_SKEW)
    liked = _zipf(rng, num_families, shape.num_users)
    is_faithful = rng.random(num_visits) < FAITHFUL
    families = np.where(is_faithful, liked[users], _zipf(rng, num_families, num_visits))
    first_items = families * FAMILY
    sizes = np.minimum(FAMILY, shape.num_items - first_items)
    begins = BEGINS_MS + np.sort(rng.integers(0, SPAN_MS, num_visits))

    visits, items, times = [], [], []
    places = _zipf(rng, FAMILY, num_visits) % sizes
    staying = np.arange(num_visits)
    for step in range(MOST):
        staying = staying[lengths[staying] > step]
        if step:
            is_onward = rng.random(len(staying)) < ONWARD
            drawn = _zipf(rng, FAMILY, len(staying))
            places[staying] = np.where(is_onward, places[staying] + 1, drawn) % sizes[staying]
        visits.append(staying)
        items.append(first_items[staying] + places[staying])
        times.append(begins[staying] + step * STEP_MS)
    visit, item, time = (np.concatenate(parts) for parts in (visits, items, times))
    order = np.argsort(time, kind="stable")[: shape.num_events]
    return pa.table(
        {
            "user": _named("u", users[visit[order]]),
            "item": _named("i", item[order]),
            "ts": pa.array(time[order]),
            "session": _named("s", visit[order]),
        }
    )


def _zipf(rng: np.random.Generator, size: int, count: int, skew: float = ITEM_SKEW) -> Int64:
    bounds = np.cumsum(np.arange(1, size + 1, dtype=np.float64) ** -skew)
    return np.searchsorted(bounds, rng.random(count) * bounds[-1], side="right").astype(np.int64)


def _named(letter: str, numbers: Int64) -> pa.Array:
    return pa.array(np.char.add(letter, numbers.astype(str)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 where a size is wrong or the file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.synthetic", description=__doc__)
    parser.add_argument("--events", type=int, default=1_500_000, help="number of events (default 1,500,000)")
    parser.add_argument("--items", type=int, default=73_000, help="size of the catalogue (default 73,000)")
    parser.add_argument("--users", type=int, default=300_000, help="how many users may come (default 300,000)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that chance decides (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="the parquet file to write")
    options = parser.parse_args(arguments)
    try:
        table = made(
            Shape(num_events=options.events, num_items=options.items, num_users=options.users, seed=options.seed)
        )
        pq.write_table(table, options.out)
    except (QualityError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = ", ".join(f"{pc.count_distinct(table[name]).as_py():,} {name}s" for name in ("user", "item", "session"))
    print(f"{options.out}: {table.num_rows:,} events, {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
