"""The peers by name, and what is needed for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.quality.peers.item_knn import ItemKnn
from benchmarks.quality.peers.matrix_factorization import Bpr, Isgd
from benchmarks.quality.peers.mixture import Mixture
from benchmarks.quality.peers.own import OwnFrequent, OwnRecent
from benchmarks.quality.peers.peer import Peer, Sizes
from benchmarks.quality.peers.popularity import Popularity, RecentDays
from benchmarks.quality.peers.refitted import Als, ItemItem
from benchmarks.quality.peers.river_mf import RiverMf
from benchmarks.quality.peers.sasrec import SasRecOffline
from benchmarks.quality.peers.transitions import Transitions
from benchmarks.quality.peers.vs_knn import VsKnn

__all__ = ["PEERS", "QUICK", "Entry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a peer is made, and what is special about it."""

    make: Callable[[Sizes], Peer]
    uses_chance: bool = False
    package: str | None = None
    """What has to be installed besides the project."""
    begins: float = 0.0
    """Share of the stream before the first event that is evaluated."""
    every: int = 1
    """Only each so manieth sub-step is evaluated."""
    note: str = ""
    """What a reader of its figures must know."""


RIVER_EVERY = 20
"""River scores in Python: one sub-step of so many is evaluated."""
_REFITTED = (
    "fitted anew on all events so far every 5 % of the stream, with fresh histories; fitting counts as ranking time"
)


def _mixture(sizes: Sizes) -> Mixture:
    names = ("transitions", "markov", "item-knn", "vs-knn", "own-recent", "popularity-2000")
    return Mixture([PEERS[name].make(sizes) for name in names])


PEERS: Mapping[str, Entry] = {
    "transitions": Entry(make=Transitions),
    "popularity": Entry(make=partial(Popularity, half_life_events=20_000.0)),
    "item-knn": Entry(make=ItemKnn),
    "vs-knn": Entry(make=VsKnn),
    "markov": Entry(make=partial(Transitions, num_recent=1, popularity_power=0.0, popularity_worth=0.2)),
    "own-recent": Entry(make=OwnRecent),
    "own-frequent": Entry(make=OwnFrequent),
    "popularity-200": Entry(make=partial(Popularity, half_life_events=200.0)),
    "popularity-2000": Entry(make=partial(Popularity, half_life_events=2_000.0)),
    "popularity-20000": Entry(make=partial(Popularity, half_life_events=20_000.0)),
    "popularity-200000": Entry(make=partial(Popularity, half_life_events=200_000.0)),
    "popularity-7d": Entry(make=partial(RecentDays, num_days=7.0)),
    "mixture": Entry(make=_mixture),
    "isgd": Entry(make=Isgd, uses_chance=True),
    "bpr": Entry(make=Bpr, uses_chance=True),
    "river": Entry(
        make=RiverMf,
        uses_chance=True,
        every=RIVER_EVERY,
        note=f"learned on all events, evaluated on every {RIVER_EVERY}th sub-step: it is slow",
    ),
    "als": Entry(make=Als, uses_chance=True, package="implicit", note=_REFITTED),
    "item-item": Entry(make=ItemItem, package="implicit", note=_REFITTED),
    "sasrec-offline": Entry(
        make=SasRecOffline,
        uses_chance=True,
        begins=0.5,
        note="trained for many epochs on the first half, then frozen; evaluated on the last half alone; training "
        "counts as ranking time",
    ),
}

QUICK = (
    "default",
    "transitions",
    "popularity",
    "item-knn",
    "vs-knn",
    "markov",
    "own-recent",
    "own-frequent",
    "popularity-200",
    "popularity-2000",
    "mixture",
)
"""Minutes on 100,000 events."""
