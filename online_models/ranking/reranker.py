"""The best few hundred of the mixture once more, by a small network that sees what every channel says of each.

What a weighted sum cannot say is learned here: that a channel is to be trusted for fresh items only, that what is in
the running basket will not come again, that two channels which agree are worth more than their sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from online_models.batch import NO_ROW
from online_models.config import RerankerConfig
from online_models.evaluation.prequential import mid_ranks
from online_models.optim.adam import Adam, clipped
from online_models.optim.weight_averaging import follow
from online_models.ranking.mixture import Mixture
from online_models.retrieval.exact import exact_topk
from online_models.scores import Scores
from online_models.tables.table_set import Axis, Rows, TableSet
from online_models.users.history import Context

__all__ = ["Reranked", "Reranker"]

_NUM_OWN_FEATURES = 8
_NO_SCORE = -1e9
"""Stands for minus infinity where a gradient goes through."""
_LARGEST_DISTANCE = 12.0
_CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Reranked:
    """The N best items of E questions in a new order, and what the network needs to learn from them.

    In lists of K items, at least N, the others are where the mixture's probability puts them.
    """

    rows: Tensor
    """``[E, K]`` int64, best first; ``NO_ROW`` where the list is shorter."""
    log_shares: Tensor
    """``[E, K]`` float32, descending: log of the probability over what may be listed; minus infinity where empty."""
    candidates: Tensor
    """``[E, N]`` int64, the same rows in the order of the mixture."""
    features: Tensor
    """``[E, N, F]`` of the candidates."""
    mixed: Tensor
    """``[E, N]`` scores of the mixture."""
    situations: Tensor
    """``[E, S]`` int64."""

    def ranks(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rank of each target among the K, see ``mid_ranks``, and whether it is there: ``[E]`` each.

        The rank is infinite where it is not.
        """
        is_target = self.rows == targets[:, None]
        is_there = is_target.any(1)
        ranks = mid_ranks(self.log_shares, is_target.to(torch.int8).argmax(1))
        return ranks.masked_fill_(~is_there, torch.inf), is_there

    def losses(self, targets: Tensor) -> Tensor:
        """Return minus the log of each target's probability, ``[E]`` float32; infinite where it is not among the N."""
        is_target = self.rows == targets[:, None]
        return -self.log_shares.masked_fill(~is_target, -torch.inf).amax(1)


class Reranker(TableSet):
    """A hidden layer over the features of a candidate, added to its mixed score; softmax loss over the candidates.

    Source: listwise softmax loss, Cao et al., ICML 2007; a second stage over a first one's candidates, Covington, Adams
    and Sargin, RecSys 2016.
    """

    def __init__(
        self, config: RerankerConfig, num_channels: int, num_situations: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(device)
        self.config = config
        width, num_features = config.width, 2 * num_channels + _NUM_OWN_FEATURES
        generator = torch.Generator().manual_seed(seed)
        weights = {
            "first": torch.randn((num_features, width), generator=generator) * num_features**-0.5,
            "situations": torch.zeros((num_situations, width)),
            "last": torch.zeros((width, 1)),  # so that it begins as the mixture
        }
        self.weights = {name: self.fixed(name, table.to(device)) for name, table in weights.items()}
        self.means = {name: self.fixed(f"mean_{name}", table.clone()) for name, table in self.weights.items()}
        self.adam = self.part("adam", Adam(config.learning_rate))
        for name, table in self.weights.items():
            self.adam.add(name, table)
        self.num_events = self.counter("num_events")
        # Number of the item's newest event, from 1.
        self.last_seen = self.tensor("last_seen", Rows(Axis.ITEMS), (), torch.int64)

    def rerank(
        self, channels: list[Scores], mixture: Mixture, situations: Tensor, context: Context, at_least: int
    ) -> Reranked:
        """Return the best items of the mixture in a new order.

        Args:
            channels: scores of each.
            situations: ``[E, S]`` int64, see ``situations_of``.
            context: of the E users.
            at_least: length of the lists, where that is more than N; what is behind the N best of the mixture, of
                which the network was taught nothing, keeps the probability that the mixture gave it.
        """
        candidates, mixed = exact_topk(mixture.scores, max(self.config.num_best, at_least), mixture.maxima)
        candidates, behind = candidates[:, : self.config.num_best], candidates[:, self.config.num_best :]
        mixed, mixed_behind = mixed[:, : self.config.num_best], mixed[:, self.config.num_best :]
        features = self._features(channels, candidates, context)
        situations = situations.to(self.device)
        with torch.no_grad():
            scores = self._scores(self.means, features, mixed, situations)
        # What the N have together stays what the mixture gave them.
        share = (torch.logsumexp(mixed, 1) - mixture.log_total).clamp(max=0.0)
        log_shares = torch.log_softmax(scores, 1) + share[:, None]
        log_shares = log_shares.masked_fill(mixed == -torch.inf, -torch.inf)
        shares_behind = (mixed_behind - mixture.log_total[:, None]).masked_fill(mixed_behind == -torch.inf, -torch.inf)
        rows, log_shares = torch.cat([candidates, behind], 1), torch.cat([log_shares, shares_behind], 1)
        order = torch.argsort(log_shares, dim=1, descending=True, stable=True)
        return Reranked(
            rows=rows.gather(1, order),
            log_shares=log_shares.gather(1, order),
            candidates=candidates,
            features=features,
            mixed=mixed,
            situations=situations,
        )

    def learn(self, reranked: Reranked, targets: Tensor) -> bool:
        """Take a step of Adam on the questions whose target is a candidate; return False if it was not finite.

        Args:
            targets: ``[E]`` int64, ``NO_ROW`` to leave a question out.
        """
        is_target = (reranked.candidates == targets[:, None]) & (targets != NO_ROW)[:, None]
        asked = torch.nonzero(is_target.any(1))[:, 0]
        if not len(asked):
            return True
        leaves = {name: table.detach().requires_grad_() for name, table in self.weights.items()}
        mixed, situations = reranked.mixed[asked], reranked.situations[asked]
        scores = self._scores(leaves, reranked.features[asked], mixed, situations)
        loss = functional.cross_entropy(scores, is_target[asked].float().argmax(1))
        found = torch.autograd.grad(loss, list(leaves.values()))
        gradients, is_finite = clipped(list(found), _CLIP_NORM)
        if not bool(is_finite & torch.isfinite(loss)):
            return False
        self.adam.step(self.weights, gradients)
        follow(self.means.values(), self.weights.values(), self.adam.num_steps, self.config.mean_steps)
        return True

    def see(self, item_rows: Tensor) -> None:
        """Note that these items came, ``[B]`` int64 in order."""
        self.num_events += len(item_rows)
        self.last_seen[item_rows] = self.num_events

    def _features(self, channels: list[Scores], candidates: Tensor, context: Context) -> Tensor:
        """Return what is known of each candidate, all within a few units of 0: ``[E, N, F]`` float32."""
        # An empty place repeats the best candidate: an item that may not be listed has no say in who is behind whom.
        inside = torch.where(candidates == NO_ROW, candidates[:, :1], candidates).clamp(min=0)
        said = torch.stack([channel.at(inside) for channel in channels], 2)
        behind = (said - said.amax(1, keepdim=True)).clamp_(min=-_LARGEST_DISTANCE)
        return torch.cat([behind * 0.3, (said * 0.2).clamp_(-3.0, 3.0), self._own_features(inside, context)], 2)

    def _own_features(self, candidates: Tensor, context: Context) -> Tensor:
        """Return where each candidate is in the user's history, when it came last, and its place in the mixture."""
        items = torch.from_numpy(context.item_rows).to(self.device)
        times = torch.from_numpy(context.times_ms).to(self.device)
        is_there = candidates.to(torch.int32)[:, :, None] == items.to(torch.int32)[:, None, :]
        counts = is_there.sum(2).float()
        has = (counts > 0).float()
        places = is_there.to(torch.int8).argmax(2).float()  # the newest, 0 first
        in_basket = (is_there & ((times == times[:, :1]) & (items != NO_ROW))[:, None, :]).any(2).float()
        ages = torch.log1p((self.num_events - self.last_seen[candidates]).float())
        order = torch.log1p(torch.arange(candidates.shape[1], device=self.device).float()).expand_as(ages)
        features = [
            has,
            torch.log1p(counts),
            has / (1.0 + places),
            has * torch.log1p(places) * 0.5,
            in_basket,
            is_there[:, :, 0].float(),
            ages * 0.2,
            order * 0.3,
        ]
        return torch.stack(features, 2)

    def _scores(self, weights: dict[str, Tensor], features: Tensor, mixed: Tensor, situations: Tensor) -> Tensor:
        # Selected and not indexed, for the sake of the order in which the gradients are added up.
        selected = weights["situations"].index_select(0, situations.flatten())
        where = selected.view(*situations.shape, self.config.width).sum(1)
        hidden = functional.silu(features @ weights["first"] + where[:, None, :])
        return (hidden @ weights["last"])[:, :, 0] + mixed.clamp(min=_NO_SCORE)
