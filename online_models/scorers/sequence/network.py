"""The recurrent network of the sequence scorer, and how events become its inputs."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from online_models.batch import NO_ROW
from online_models.scorers.sequence.attention import HistoryAttention
from online_models.scorers.sequence.gru import run_gru
from online_models.scorers.sequence.packed_histories import NUM_GAP_BUCKETS
from online_models.tables.state_reader import StateReader, Table, are_finite, copies
from online_models.tables.state_tree import State

__all__ = ["RecurrentNetwork"]

Int64 = npt.NDArray[np.int64]
_NUM_TYPES = 128
"""Event types are int8."""


class RecurrentNetwork(nn.Module):
    """A gated recurrent unit over a user's events with a skip from the input to the output.

    Source: Hidasi et al., GRU4Rec, ICLR 2016, arXiv:1511.06939. Here the item table is tied between input
    and output, the time since the previous event is part of the input, and the loss is the full softmax.
    """

    def __init__(self, width: int, state_width: int, length: int, num_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gru = nn.GRU(width, state_width)
        self.output = nn.Linear(state_width, width)
        self.norm = nn.LayerNorm(width)
        self.gaps = nn.Parameter(torch.zeros(NUM_GAP_BUCKETS, width))
        self.types = nn.Parameter(torch.zeros(_NUM_TYPES, width))
        self.start = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            for parameter in (*self.gru.parameters(), *self.output.parameters()):
                parameter.uniform_(-(state_width**-0.5), state_width**-0.5, generator=generator)
            for parameter in (self.gaps, self.types, self.start):
                parameter.normal_(0.0, 0.1, generator=generator)
        self.attention = HistoryAttention(width, length, num_heads, generator)

    def inputs(self, items: Tensor, item_rows: Tensor, event_types: Tensor, gaps: Tensor) -> Tensor:
        """Return the inputs of events: scaled item plus gap plus type, or the start where there is no item.

        Args:
            items: ``[I, D]`` item embeddings.
            item_rows: ``[S]`` int64 rows of ``items``, or ``NO_ROW``.
            event_types: ``[S]`` int64.
            gaps: ``[S]`` int64, from ``packed_histories.py``.

        Returns:
            ``[S, D]`` float32.
        """
        events = (
            _scaled(items, item_rows)
            + nn.functional.embedding(gaps, self.gaps)
            + nn.functional.embedding(event_types, self.types)
        )
        return torch.where((item_rows == NO_ROW)[:, None], self.start, events)

    def read(self, inputs: Tensor, states: Tensor, counts: Int64) -> Tensor:
        """Return the states ``[S, H]`` after each of the packed inputs ``[S, D]``, see ``run_gru``."""
        return run_gru(self.gru, inputs, states, counts)

    def ask(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the queries ``[P, D]`` after these inputs ``[P, D]``, which led to the states ``[P, H]``."""
        queries: Tensor = self.norm(self.output(hidden) + inputs)
        return queries

    def look_back(self, queries: Tensor, items: Tensor, item_rows: Tensor, ages: Tensor) -> Tensor:
        """Return the queries ``[P, D]`` after a look at the newest items ``[P, L]`` of the history."""
        looked: Tensor = self.attention(queries, _scaled(items, item_rows), item_rows != NO_ROW, ages)
        return looked

    def state(self) -> State:
        """Return a copy of all parameters."""
        return copies(self._tables())

    def load(self, state: State) -> None:
        """Take ``state`` over, of the same widths; raises StateError when it does not fit."""
        tables = self._tables()
        StateReader(state, tables).fill(tables)

    def is_finite(self) -> bool:
        """Return whether no parameter is NaN or infinite."""
        return are_finite(self._tables().values())

    def _tables(self) -> dict[str, Table]:
        return {name: parameter.detach() for name, parameter in self.named_parameters()}


def _scaled(items: Tensor, item_rows: Tensor) -> Tensor:
    """Return the embeddings of ``item_rows`` as inputs are: of about the length of what is added to them."""
    scaled: Tensor = nn.functional.embedding(item_rows.clamp(min=0), items) * items.shape[1] ** 0.5
    return scaled
