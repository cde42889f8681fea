"""What every way of scoring items can do."""

from abc import ABC, abstractmethod

from torch import Tensor

from online_models.tables.table_set import TableSet
from online_models.users.history import Context, SubStep

__all__ = ["Scorer"]


class Scorer(TableSet, ABC):
    """Scores every item for a query and learns from sub-steps; what it remembers are its tables.

    All columns are item rows. Scores are finite logarithms of how likely an item is, up to a constant per query, so
    that scorers can be mixed. Only ``grow``, ``reset``, ``learn`` and ``load`` change what is remembered.
    """

    @abstractmethod
    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the scores of all items for the users of ``context`` now: ``[R, num_items]`` float32."""

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]`` float32."""
        return self.score(step.context, num_items)

    @abstractmethod
    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Learn all events of ``step``; return False when a step was left out because it was not finite.

        Args:
            known: ``[num_items]`` bool, items that some event has been evidence for, this step included.
        """
