"""Tiny streams written by hand, and one-line ways to put a peer through them."""

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.children import missing_package
from benchmarks.quality.metrics import Tally
from benchmarks.quality.peers import PEERS
from benchmarks.quality.peers.peer import Float32, Int64, Peer, Questions, Sizes
from benchmarks.quality.protocol import PeerContestant, Ranked, Rules, joined, walk
from benchmarks.quality.stream import Stream, arranged

PEERS_HERE = [name for name in PEERS if missing_package(name) is None]
"""Those whose package is installed: a machine without one has nothing to test there."""


def stream_of(
    users: Sequence[int], items: Sequence[int], times: Sequence[int] = (), sessions: Sequence[int] = ()
) -> Stream:
    """Return a stream of these rows, one second apart where no times are given."""
    columns = {
        "user_rows": np.array(users, np.int64),
        "item_rows": np.array(items, np.int64),
        "session_rows": np.array(sessions or users, np.int64),
        "event_types": np.zeros(len(users), np.int8),
        "times_ms": np.array(times or range(0, 1000 * len(users), 1000), np.int64),
    }
    return arranged("by hand", columns, {}, has_sessions=bool(sessions))


def sizes_of(stream: Stream) -> Sizes:
    """Return what a peer of this stream is made with."""
    return Sizes(
        num_users=stream.num_users,
        num_items=stream.num_items,
        num_sessions=stream.num_sessions,
        num_events=len(stream),
        has_sessions=stream.has_sessions,
        sasrec_epochs=1,
    )


class Spy:
    """Gives all items the same score and remembers what it was shown, and in what order."""

    def __init__(self) -> None:
        self.asked: list[Questions] = []
        self.num_learned_when_asked: list[int] = []
        self.learned: list[int] = []

    def score(self, asked: Questions) -> Float32:
        """Return zeros."""
        self.asked.append(asked)
        self.num_learned_when_asked.append(len(self.learned))
        return np.zeros((len(asked), asked.num_items), np.float32)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Remember the items."""
        self.learned += item_rows.tolist()


class InOrder(Spy):
    """Scores items by row, the lowest best."""

    def score(self, asked: Questions) -> Float32:
        """Return minus the row."""
        return super().score(asked) - np.arange(asked.num_items, dtype=np.float32)


def played(peer: Peer, stream: Stream, rules: Rules) -> tuple[Ranked, Tally]:
    """Return all ranks and the tally of a peer."""
    parts: list[Ranked] = []
    tally = Tally(stream)

    def seen(num_done: int, item_rows: Int64, ranked: Ranked) -> None:
        parts.append(ranked)
        tally(num_done, item_rows, ranked)

    walk(stream, PeerContestant(peer, stream, rules), rules, seen)
    return joined(parts), tally


def last_list(name: str, stream: Stream, rules: Rules) -> list[int]:
    """Return what the peer lists at the last event of the stream, best first."""
    ranked, _ = played(PEERS[name].make(sizes_of(stream)), stream, rules)
    assert ranked.places[-1] == len(stream) - 1
    return [row for row in ranked.top_rows[-1].tolist() if row >= 0]
