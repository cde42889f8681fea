"""The scorers by name, and what each is mixed with."""

from collections.abc import Callable, Mapping
from functools import partial

import torch

from online_models.config import HALF_LIVES_EVENTS, LearnerConfig, PopularityConfig, TransitionsConfig
from online_models.errors import ConfigError
from online_models.scorers.cooccurrence import Cooccurrence
from online_models.scorers.frequency import Frequency
from online_models.scorers.item_neighbours import ItemNeighbours
from online_models.scorers.matrix_factorization import MatrixFactorization
from online_models.scorers.popularity import Popularity
from online_models.scorers.protocol import Scorer
from online_models.scorers.recency import Recency
from online_models.scorers.sequence.scorer import SequenceScorer
from online_models.scorers.session_cooccurrence import SessionCooccurrence
from online_models.scorers.transitions import Transitions
from online_models.scorers.user_neighbours import UserNeighbours

__all__ = ["BASELINES", "CHANNELS", "RERANKED", "SCORERS", "make_scorers"]


def _popularity_of(popularity: PopularityConfig, config: LearnerConfig, device: torch.device) -> Scorer:
    return Popularity(popularity, device)


def _transitions_of(config: TransitionsConfig, device: torch.device) -> Scorer:
    return ItemNeighbours(config, Transitions(config), device)


SCORERS: Mapping[str, Callable[[LearnerConfig, torch.device], Scorer]] = {
    "popularity": lambda config, device: Popularity(config.popularity, device),
    **{
        name: partial(_popularity_of, PopularityConfig(half_life_events=half_life))
        for name, half_life in HALF_LIVES_EVENTS.items()
    },
    "transitions": lambda config, device: _transitions_of(config.transitions, device),
    "successors": lambda config, device: _transitions_of(config.successors, device),
    "cooccurrence": lambda config, device: ItemNeighbours(config.cooccurrence, Cooccurrence(), device),
    "baskets": lambda config, device: ItemNeighbours(config.baskets, SessionCooccurrence(), device),
    "neighbours": lambda config, device: UserNeighbours(config.neighbours, config.history_length, device),
    "recency": lambda config, device: Recency(config.recency, config.history_length, device),
    "frequency": lambda config, device: Frequency(config.frequency, device),
    "mf": MatrixFactorization,
    "sequence": SequenceScorer,
}

CHANNELS: Mapping[str, tuple[str, ...]] = {
    "popularity": ("popularity",),
    "transitions": ("transitions", "popularity"),
    "successors": ("successors", "popularity"),
    "cooccurrence": ("cooccurrence", "popularity"),
    "baskets": ("baskets", "popularity"),
    "neighbours": ("neighbours", "popularity"),
    "recency": ("recency", "popularity"),
    "frequency": ("frequency", "popularity"),
    **{name: (name,) for name in HALF_LIVES_EVENTS},
    "mf": ("mf", "transitions", "popularity"),
    "sequence": (
        "sequence",
        "transitions",
        "successors",
        "cooccurrence",
        "baskets",
        "neighbours",
        "recency",
        "frequency",
        "popularity",
        *HALF_LIVES_EVENTS,
    ),
}
"""Which scorers the model mixes, by the name of the one that leads."""

RERANKED = ("sequence",)
"""The models whose best items are ordered anew by a network."""

BASELINES = ("transitions", "popularity")
"""Always run beside the model and scored on the same events."""


def make_scorers(config: LearnerConfig, device: torch.device) -> dict[str, Scorer]:
    """Return the scorers that the model and the baselines need, by name.

    Raises:
        ConfigError: ``config.scorer`` is not a name of ``SCORERS``.
    """
    if config.scorer not in SCORERS:
        raise ConfigError(f"scorer: expected one of {', '.join(SCORERS)}, got {config.scorer!r}")
    names = dict.fromkeys((*CHANNELS[config.scorer], *BASELINES))
    return {name: SCORERS[name](config, device) for name in names}
