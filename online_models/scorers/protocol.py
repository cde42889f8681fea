"""What every way of scoring items can do."""

from abc import ABC, abstractmethod

from torch import Tensor

from online_models.scores import Candidates, Scores
from online_models.tables.table_set import TableSet
from online_models.users.history import Context, SubStep

__all__ = ["Scorer"]


class Scorer(TableSet, ABC):
    """Scores items for queries and learns from sub-steps; what it remembers are its tables.

    Scores are finite logarithms of how likely an item is, up to a constant per query, so that scorers can be mixed.
    Only ``grow``, ``reset``, ``learn`` and ``load`` change what is remembered.
    """

    @abstractmethod
    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the scores of the candidates for the R users of ``context`` now."""

    def score_events(self, step: SubStep, candidates: Candidates) -> Scores:
        """Return the scores just before each of the B events of ``step``."""
        return self.score(step.context, candidates)

    @abstractmethod
    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Learn all events of ``step``; return False when a step was left out because it was not finite.

        Args:
            known: ``[num_items]`` bool, items that some event has been evidence for, this step included.
        """
