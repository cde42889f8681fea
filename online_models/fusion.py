"""How much to trust each scorer, learned online from how likely they made what really happened."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.config import FusionConfig
from online_models.optimizers import Adam
from online_models.parts import Parts, Table, are_finite, copies
from online_models.state import State

__all__ = ["FIRST_WEIGHTS", "Fusion", "Mixture"]

FIRST_WEIGHTS = {
    "sequence": 0.5,
    "mf": 0.1,
    "transitions": 0.7,
    "successors": 0.2,
    "recency": 0.1,
    "popularity": 0.3,
}
"""Trust before anything was learned."""


class Mixture:
    """The mixed scores of E questions over the items that may be listed, and their likelihood."""

    def __init__(self, scores: Tensor, blocked: Tensor) -> None:
        """Mask ``scores`` ``[E, I]`` in place where ``blocked`` ``[E, I]`` bool."""
        self.scores = scores.masked_fill_(blocked, -torch.inf)
        self.log_total = torch.logsumexp(scores, dim=1)  # minus infinity where nothing may be listed

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities of items with these mixed scores, ``[E, n]`` in 0..1."""
        return torch.exp(scores - self.log_total[:, None]).nan_to_num_(nan=0.0)


class Fusion:
    """Log-scores added up with one weight per channel and bucket of history length.

    The weights climb the likelihood of the softmax over the items that may be listed: their gradient is
    the channel's mean score minus its score of what happened, so no graph is needed.
    """

    def __init__(self, config: FusionConfig, channels: tuple[str, ...], history_length: int) -> None:
        self.channels = channels
        first = torch.tensor([FIRST_WEIGHTS[channel] for channel in channels])
        self.weights = first.repeat(history_length.bit_length() + 1, 1)  # [buckets, C]
        self.num_events = torch.zeros(len(self.weights), dtype=torch.float64)
        # A channel that scores all candidates alike has a slope of rounding errors, which Adam would blow up to
        # full steps without this floor.
        self.adam = Adam(config.learning_rate, epsilon=1e-3)
        self.adam.add("weights", self.weights)

    def buckets(self, lengths: npt.NDArray[np.int64]) -> Tensor:
        """Return the bucket of each history length: 0 for none, then one per power of two."""
        return torch.from_numpy(np.ceil(np.log2(lengths + 1.0)).astype(np.int64))

    def mix(self, scores: list[Tensor], buckets: Tensor) -> Tensor:
        """Return the weighted sum of the channels' scores: ``[E, I]`` float32."""
        weights = self.weights[buckets].to(scores[0].device)
        mixed = scores[0] * weights[:, :1]
        for place in range(1, len(scores)):
            mixed.addcmul_(scores[place], weights[:, place : place + 1])
        return mixed

    def gradients(self, scores: list[Tensor], mixture: Mixture, targets: Tensor) -> Tensor:
        """Return each question's slope of the loss in the weights: ``[E, C]`` float32."""
        shares = mixture.probabilities(mixture.scores)
        means = torch.stack([torch.linalg.vecdot(shares, channel) for channel in scores], 1)
        return means - torch.cat([channel.gather(1, targets[:, None]) for channel in scores], 1)

    def learn(self, gradients: Tensor, buckets: Tensor) -> bool:
        """Move the weights of the buckets asked; return False when that was not finite and left out."""
        if not len(buckets):
            return True
        sums = torch.zeros_like(self.weights).index_add_(0, buckets, gradients.to(self.weights.device))
        counts = torch.bincount(buckets, minlength=len(self.weights))
        if not bool(torch.isfinite(sums).all()):
            return False
        rows = torch.nonzero(counts)[:, 0]
        self.adam.begin()
        self.adam.update("weights", self.weights, sums[rows] / counts[rows, None], rows)
        self.num_events += counts
        return True

    def state(self) -> State:
        """Return a copy of everything learned, and of which channels."""
        return {**copies(self._tables()), "channels": list(self.channels), "adam": self.adam.state({})}

    def load(self, state: State) -> None:
        """Take ``state`` over, of the same channels and buckets; raises StateError when it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "channels", "adam"])
        parts.expect("channels", list(self.channels))
        parts.fill(tables)
        with parts.below("adam") as moments:
            self.adam.load(moments, {})

    def is_finite(self) -> bool:
        """Return whether no weight or moment is NaN or infinite."""
        return are_finite(self._tables().values()) and self.adam.is_finite()

    def mean_weights(self) -> dict[str, float]:
        """Return each channel's weight, averaged over the events that were asked so far."""
        shares = self.num_events / self.num_events.sum().clamp(min=1.0)
        means = shares @ self.weights.double() if shares.sum() > 0 else self.weights.double().mean(0)
        return dict(zip(self.channels, means.tolist(), strict=True))

    def _tables(self) -> dict[str, Table]:
        return {"weights": self.weights, "num_events": self.num_events}
