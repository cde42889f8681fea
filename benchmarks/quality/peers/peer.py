"""What every peer can do, and what it is asked."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from online_models.users.history import Context

__all__ = ["Float32", "Int64", "Peer", "Questions", "Sizes"]

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the tables of a run have to be and how long it is; good for allocation and for when to refit only."""

    num_users: int
    num_items: int
    num_sessions: int
    num_events: int
    has_sessions: bool
    seed: int = 0
    sasrec_epochs: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Who asks for the next item, and what may be known of him: everything but the item that came."""

    context: Context
    """``[B]`` users and their newest L events, newest first."""
    num_new: Int64
    """``[B]`` int64: how many of the newest events of ``context`` the peer has not learned yet."""
    basket_sizes: Int64
    """``[B]`` int64: how many of the newest events of ``context`` are of the session, or very time, asked in."""
    session_rows: Int64
    """``[B]`` int64: the session asked in, or the user where there are no sessions."""
    event_types: npt.NDArray[np.int8]
    """``[B]`` int8."""
    times_ms: Int64
    """``[B]`` int64: when it is asked."""
    num_items: int
    """Items known, which are rows 0 to ``num_items - 1``."""

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def user_rows(self) -> Int64:
        """Return who asks: ``[B]`` int64."""
        return self.context.user_rows


class Peer(Protocol):
    """Scores all items known for some questions, and learns what was then taken."""

    def score(self, asked: Questions) -> Float32:
        """Return ``[B, asked.num_items]`` float32, higher is better, finite; changes nothing that later scores show."""

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Learn that ``item_rows`` ``[B]`` came, in order; ``asked.num_items`` counts them in."""
