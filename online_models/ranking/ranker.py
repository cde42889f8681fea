"""One ranking from what each scorer says: the same answer for evaluation, lists and explanations."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW, TopK
from online_models.config import LearnerConfig
from online_models.ranking.context_buckets import num_situations, situations_of
from online_models.ranking.explanation import Explanation, explain
from online_models.ranking.fusion import Fusion
from online_models.ranking.mixture import Listable, Mixture, mix
from online_models.ranking.reranker import Reranked, Reranker
from online_models.retrieval.exact import exact_topk
from online_models.scores import Scores
from online_models.tables.table_set import Axis, Rows, TableSet
from online_models.users.history import Context

__all__ = ["Answer", "Lesson", "Query", "Ranker"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for E users."""

    context: Context
    """Of each, ``[E]``."""
    scores: dict[str, Scores]
    """Of each channel, by name; there may be more than are mixed."""
    owned: Tensor
    """``[n]`` int64, ascending: user's place times I plus item, of what is not listed again."""
    k: int
    """K, length of the lists."""
    targets: Tensor | None = None
    """``[E]`` int64: what really came, where that is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How the items of E users are ranked."""

    context: Context
    situations: Tensor
    """``[E, F]`` int64, see ``situations_of``."""
    channels: list[Scores]
    """In the order of the mixture."""
    mixture: Mixture
    reranked: Reranked | None
    k: int

    def best(self) -> tuple[Tensor, Tensor]:
        """Return rows and probabilities of the K best items, ``[E, K]`` each; ``NO_ROW`` and 0 where it is shorter."""
        if self.reranked:
            return self.reranked.rows[:, : self.k], torch.exp(self.reranked.log_shares[:, : self.k])
        rows, scores = exact_topk(self.mixture.scores, self.k, self.mixture.maxima)
        return rows, self.mixture.probabilities(scores)

    def ranks(self, targets: Tensor) -> Tensor:
        """Return the rank of each target of the query among what may be listed: ``[E]`` float64, see ``mid_ranks``."""
        ranks = self.mixture.ranks
        assert ranks is not None, "the query named no targets"
        if self.reranked is None:
            return ranks
        found, is_inside = self.reranked.ranks(targets)
        return torch.where(is_inside, found, ranks)

    def losses(self, targets: Tensor) -> Tensor:
        """Return minus the log of the probability of each target ``[E]`` int64: ``[E]`` float32."""
        losses = self.mixture.log_total - self.mixture.scores.gather(1, targets[:, None])[:, 0]
        if self.reranked is None:
            return losses
        _, is_inside = self.reranked.ranks(targets)
        return torch.where(is_inside, self.reranked.losses(targets), losses)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an answer leaves to be learned from; nothing is learned from a target that was not known."""

    slopes: Tensor
    """``[n, C]`` of the mixture's weights, of the n queries whose target was known."""
    situations: Tensor
    """``[n, F]`` of these."""
    reranked: Reranked | None
    """Of all E queries."""
    targets: Tensor
    """``[E]``, ``NO_ROW`` where the item was not known."""


class Ranker(TableSet):
    """Knows which items may be listed, how much to trust each scorer, and how to order the best of their mixture."""

    def __init__(self, config: LearnerConfig, channels: tuple[str, ...], device: torch.device, *, rerank: bool) -> None:
        super().__init__(device)
        self._channels = channels
        num_buckets = num_situations(config.history_length)
        self.known = self.tensor("known", Rows(Axis.ITEMS), (), torch.bool)  # items with a positive event so far
        self._fusion = self.part("fusion", Fusion(config.fusion, channels, num_buckets))
        self._reranker: Reranker | None = None
        if rerank:
            self._reranker = Reranker(config.reranker, len(channels), num_buckets, config.seed, device)
        self.part("reranker", self._reranker or TableSet())

    @property
    def num_known(self) -> int:
        """Return how many items may be listed."""
        return int(self.known.sum())

    def ask(self, query: Query) -> Answer:
        """Rank the items for E users by what was learned so far; changes nothing."""
        channels = [query.scores[name] for name in self._channels]
        situations = torch.from_numpy(situations_of(query.context))
        weights = self._fusion.weights_of(situations).to(self.device)
        mixture = mix(channels, weights, self.listable(query), query.targets)
        reranked = None
        if self._reranker:
            reranked = self._reranker.rerank(channels, mixture, situations, query.context, query.k)
        return Answer(query.context, situations, channels, mixture, reranked, query.k)

    def listable(self, query: Query) -> Listable:
        """Return what may be listed for the users of ``query``."""
        num_items = next(iter(query.scores.values())).num_items
        return Listable(self.known[:num_items], query.owned)

    def lesson(self, answer: Answer, targets: Tensor) -> Lesson:
        """Return what is to be learned once the queries' targets, ``[E]`` int64, have really come."""
        is_known = self.known[targets]
        return Lesson(
            slopes=self._fusion.slopes(answer.channels, answer.mixture, targets)[is_known].cpu(),
            situations=answer.situations[is_known.cpu()],
            reranked=answer.reranked,
            targets=targets.masked_fill(~is_known, NO_ROW),
        )

    def learn(self, lesson: Lesson) -> list[bool]:
        """Move the trust in the channels, and the second stage; return for each whether its step was finite."""
        was_finite = [self._fusion.learn(lesson.slopes, lesson.situations)]
        if self._reranker and lesson.reranked:
            was_finite.append(self._reranker.learn(lesson.reranked, lesson.targets))
        return was_finite

    def see(self, item_rows: Tensor) -> None:
        """Note that there was evidence for these items, ``[n]`` int64 in order: from now on they may be listed."""
        self.known[item_rows] = True
        if self._reranker:
            self._reranker.see(item_rows)

    def mean_weights(self) -> dict[str, float]:
        """Return the mean trust in each channel."""
        return self._fusion.mean_weights()

    def explain(self, answer: Answer, top: TopK) -> Explanation:
        """Return what each channel, and the second stage, adds to the places of the first list of ``answer``."""
        scores = {name: channel.table() for name, channel in zip(self._channels, answer.channels, strict=True)}
        weights = self._fusion.weights_of(answer.situations[:1])
        history = answer.context.take(np.zeros(1, np.int64))
        return explain(top, history, scores, weights, answer.mixture, is_reranked=answer.reranked is not None)
