"""A network reads runs of events and says after any of them what it asks of the next item."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.scorers.sequence.network import RecurrentNetwork
from online_models.scorers.sequence.packed_histories import Lookback, PackedRuns

__all__ = ["Read", "Reader", "local_rows"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Read:
    """What a network has read."""

    inputs: Tensor
    """``[S, D]`` of each event."""
    hidden: Tensor
    """``[S, H]`` after each event."""
    places: Int64
    """``[N, T]`` int64: which of the S each event of each run is."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A network and the items it knows: the whole catalogue, or those that take part in a step."""

    network: RecurrentNetwork
    items: Tensor
    """``[m, D]``."""
    rows: Tensor | None = None
    """``[m]`` int64, sorted: rows of the catalogue; None: the first m."""

    def read(self, runs: PackedRuns, states: Tensor) -> Read:
        """Return what comes of runs that begin with ``states`` ``[N, H]``."""
        item_rows, event_types, gaps, order = (
            torch.from_numpy(table).to(self.items.device)
            for table in (runs.item_rows, runs.event_types, runs.gaps, runs.order)
        )
        inputs = self.network.inputs(self.items, local_rows(self.rows, item_rows), event_types, gaps)
        return Read(inputs, self.network.read(inputs, states[order], runs.counts), runs.places)

    def ask(self, read: Read, runs: Int64, columns: Int64, lookback: Lookback) -> Tensor:
        """Return the queries ``[P, D]`` after the events at these runs and columns ``[P]``.

        Args:
            lookback: the newest items at each of the P.
        """
        # Not hidden[places]: with several threads torch adds up its gradient in whatever order they come.
        places = torch.from_numpy(read.places[runs, columns]).to(self.items.device)
        queries = self.network.ask(read.hidden.index_select(0, places), read.inputs.index_select(0, places))
        held = local_rows(self.rows, torch.from_numpy(lookback.item_rows).to(self.items.device))
        return self.network.look_back(queries, self.items, held, torch.from_numpy(lookback.ages).to(self.items.device))


def local_rows(rows: Tensor | None, wanted: Tensor) -> Tensor:
    """Return where ``wanted`` are among the sorted ``rows``, all where that is None; ``NO_ROW`` stays what it is."""
    if rows is None:
        return wanted
    return torch.where(wanted < 0, wanted, torch.searchsorted(rows, wanted))
