"""The scorers by name, and what each is mixed with."""

from collections.abc import Callable, Mapping

import torch

from online_models.config import LearnerConfig
from online_models.errors import ConfigError
from online_models.factorization import MatrixFactorization
from online_models.popularity import Popularity
from online_models.recency import Recency
from online_models.scorer import Scorer
from online_models.sequence import SequenceScorer
from online_models.transitions import Transitions

__all__ = ["BASELINES", "CHANNELS", "SCORERS", "make_scorers"]

SCORERS: Mapping[str, Callable[[LearnerConfig, torch.device], Scorer]] = {
    "popularity": Popularity,
    "transitions": lambda config, device: Transitions("transitions", config.transitions, device),
    "successors": lambda config, device: Transitions("successors", config.successors, device),
    "recency": lambda config, device: Recency(config.recency, config.history_length, device),
    "mf": MatrixFactorization,
    "sequence": SequenceScorer,
}

CHANNELS: Mapping[str, tuple[str, ...]] = {
    "popularity": ("popularity",),
    "transitions": ("transitions", "popularity"),
    "successors": ("successors", "popularity"),
    "recency": ("recency", "popularity"),
    "mf": ("mf", "transitions", "popularity"),
    "sequence": ("sequence", "transitions", "successors", "recency", "popularity"),
}
"""Which scorers the model mixes, by the name of the one that leads."""

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
