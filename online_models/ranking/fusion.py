"""Context-gated weights that mix the scorers, learned online by maximum likelihood."""

import torch
from torch import Tensor

from online_models.config import FusionConfig
from online_models.optim.adam import Adam
from online_models.ranking.mixture import Mixture
from online_models.scores import Scores
from online_models.tables.table_set import TableSet

__all__ = ["Fusion"]

_FIRST_STEPS, _LEAST_SHARE = 50.0, 0.2
"""Steps that are hardly shortened; later ones fall with the square root of their number, to this share."""
_FEW_EVENTS = 4.0
"""A bucket that fewer events of a sub-step were in moves less, by how many more these would have been."""


class Fusion(TableSet):
    """Log-scores added up with one weight per channel, which is a sum over the buckets that the question is in.

    The weights climb the likelihood of the softmax over the items that may be listed: their gradient is
    the channel's mean score minus its score of what happened, so no graph is needed.
    """

    def __init__(self, config: FusionConfig, channels: tuple[str, ...], num_situations: int) -> None:
        super().__init__()
        self.channels = channels
        self.constant("channels", list(channels))
        self.weights = self.fixed("weights", torch.zeros(num_situations, len(channels)))  # [buckets, C]
        self.weights[0] = torch.tensor([config.first_weights[channel] for channel in channels])  # of all questions
        self.num_events = self.fixed("num_events", torch.zeros(num_situations, dtype=torch.float64))
        # A channel that scores all candidates alike has a slope of rounding errors, which Adam would blow up to
        # full steps without this floor.
        self.adam = self.part("adam", Adam(config.learning_rate, epsilon=1e-3))
        self.adam.add("weights", self.weights)

    def weights_of(self, situations: Tensor) -> Tensor:
        """Return the weight of each channel in these situations, ``[E, F]`` int64: ``[E, C]`` float32."""
        return self.weights[situations].sum(1)

    def slopes(self, channels: list[Scores], mixture: Mixture, targets: Tensor) -> Tensor:
        """Return each query's slope of the loss in its weights, ``[E, C]`` float32, of targets ``[E]`` int64."""
        assert mixture.means is not None, "the mixture was not asked for these targets"
        return mixture.means - torch.cat([channel.at(targets[:, None]) for channel in channels], 1)

    def learn(self, gradients: Tensor, situations: Tensor) -> bool:
        """Move the weights of the buckets asked; return False when that was not finite and left out."""
        if not len(situations):
            return True
        buckets = situations.flatten()
        slopes = gradients.to(self.weights.device).repeat_interleave(situations.shape[1], 0)
        sums = torch.zeros_like(self.weights).index_add_(0, buckets, slopes)
        counts = torch.bincount(buckets, minlength=len(self.weights))
        if not bool(torch.isfinite(sums).all()):
            return False
        rows = torch.nonzero(counts)[:, 0]
        # Constant steps would never settle, and vanishing ones not follow what changes.
        share = max(_LEAST_SHARE, (1.0 + self.adam.num_steps / _FIRST_STEPS) ** -0.5)
        slopes = sums[rows] / (counts[rows, None] + _FEW_EVENTS)
        self.adam.step({"weights": self.weights}, [slopes], {"weights": rows}, share)
        self.num_events += counts
        return True

    def mean_weights(self) -> dict[str, float]:
        """Return each channel's weight, averaged over the events that were asked so far."""
        # Every question is in the first bucket, so that one has counted them all.
        means = (self.num_events / self.num_events[0].clamp(min=1.0)) @ self.weights.double()
        if not self.num_events[0]:
            means = self.weights[0].double()
        return dict(zip(self.channels, means.tolist(), strict=True))
