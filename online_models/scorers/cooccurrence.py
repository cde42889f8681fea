"""What comes near what, whichever came first: item neighbours by cosine."""

import torch
from torch import Tensor

from online_models.config import TransitionsConfig
from online_models.scorers.transitions import Transitions

__all__ = ["Cooccurrence"]


class Cooccurrence(Transitions):
    """Counts each pair of items that a history has near each other, both ways, and scores by their cosine.

    Every pair counts the same, however far apart within the newest ``num_recent``; ``position_decay`` weighs the
    history only when it is scored.

    Source: Sarwar et al., WWW 2001; the incremental form after Vinagre, Jorge and Gama, 2015. Here with fading counts
    and a bounded memory per item.
    """

    inherits = False  # divided by the norm of a rare item, what it took over would put it above all others

    def __init__(self, name: str, config: TransitionsConfig, device: torch.device) -> None:
        super().__init__(name, config, device)
        self.evidence_weights = torch.ones_like(self.position_weights)

    def _source_worth(self, sources: Tensor) -> Tensor:
        return self._norms(sources)

    def _target_worth(self, num_items: int) -> Tensor:
        return self._norms(torch.arange(num_items, device=self.counts.device))

    def _norms(self, rows: Tensor) -> Tensor:
        return (self.counts[rows] / self.scale.value).add_(1.0).rsqrt_()

    def _pairs(self, sources: Tensor, targets: Tensor, worth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.cat([sources, targets]), torch.cat([targets, sources]), torch.cat([worth, worth])
