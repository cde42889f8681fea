"""What everybody takes at the moment: counts that fade with the number of events."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.config import PopularityConfig
from online_models.tables.decay import DecayingScale
from online_models.tables.growing import allocated_rows, grow_table
from online_models.tables.state_reader import Parts, Table, are_finite, copies
from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["Popularity"]

Int64 = npt.NDArray[np.int64]
_SMOOTHING = 0.05
"""Added to every count before the logarithm: an item nobody took lately is unlikely, not impossible."""


class Popularity:
    """One decayed count per item; evidence against an item is subtracted, down to 0."""

    def __init__(self, name: str, config: PopularityConfig, device: torch.device) -> None:
        self.name = name
        self.scale = DecayingScale(config.half_life_events)
        self.counts = torch.zeros(0, device=device)
        self.num_used = 0

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for items up to row ``num_items - 1``."""
        self.num_used = max(self.num_used, num_items)
        size = allocated_rows(num_items, len(self.counts))
        if size > len(self.counts):
            self.counts = grow_table(self.counts, size)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Set the counts of these items to 0."""
        self.counts[torch.from_numpy(item_rows).to(self.counts.device)] = 0.0

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logarithm of the decayed counts, the same for everybody: ``[R, num_items]``."""
        row = torch.log(self.counts[:num_items] / self.scale.value + _SMOOTHING)
        return row.expand(len(context.user_rows), num_items)

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]``."""
        return self.score(step.context, num_items)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Count every event with its weight."""
        device = self.counts.device
        rows = torch.from_numpy(step.batch.item_rows).to(device)
        weights = torch.from_numpy(step.batch.weights).to(device)
        self.counts.index_add_(0, rows, weights * self.scale.value)
        self.counts[rows] = self.counts[rows].clamp_(min=0.0)
        divisor = self.scale.advance(len(step.batch))
        if divisor != 1.0:
            self.counts.div_(divisor)
        return True

    def shares(self, item_rows: Int64) -> npt.NDArray[np.float64]:
        """Return the share of each item in all decayed counts, in 0..1, above 0, in the shape of ``item_rows``."""
        counts = self.counts[torch.from_numpy(item_rows).to(self.counts.device)].double() / self.scale.value
        total = self.counts.double().sum() / self.scale.value + _SMOOTHING * max(1, self.num_used)
        shares: npt.NDArray[np.float64] = ((counts + _SMOOTHING) / total).cpu().numpy()
        return shares

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {**copies(self._tables()), "scale": self.scale.state()}

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many items; raises StateError when it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "scale"])
        parts.fill(tables)
        parts.give("scale", self.scale)

    def is_finite(self) -> bool:
        """Return whether no count is NaN or infinite."""
        return are_finite(self._tables().values())

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {f"{self.name}.items": (self.num_used, len(self.counts))}

    def _tables(self) -> dict[str, Table]:
        return {"counts": self.counts[: self.num_used]}
