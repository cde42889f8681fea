"""The settings that decide what is learned from the same log and journal, and the hash that stands for them.

What a person sets is among them, and what the software brings along: every hyperparameter, the version of the model and
that of decoding. So a state is never continued by code that computes something else without anybody being told.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from online_models import MODEL_VERSION, LearnerConfig
from online_models import ConfigError as ModelConfigError
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.ingest.decode import DECODE_VERSION
from stream.wire.schema import FIRST_DECODE_VERSION, FIRST_MODEL_VERSION

__all__ = ["changed_settings", "completed", "config_hash", "decisive_settings", "is_of_software", "learner_config"]

_SET_BY_PEOPLE = ("scorer", "k", "sub_step_events", "history_length", "seed")
"""Fields of the learner's configuration that are settings under `model`, and told as such."""
_HYPERPARAMETERS = "model.hyperparameters."
_MODEL_VERSION = "model.version"
_DECODE_VERSION = "events.decode_version"
_WHERE_IT_RUNS = {"device", "deterministic", "cpu_threads", "effort"}
"""Settings under `model` that decide nothing, or whose effect the journal keeps with every batch."""

_FIRST_HYPERPARAMETERS: Mapping[str, Any] = {
    "baskets.half_life_events": 500_000.0,
    "baskets.num_recent": 32,
    "baskets.num_slots": 128,
    "baskets.popularity_power": 0.1,
    "baskets.position_decay": 1.0,
    "cooccurrence.half_life_events": 500_000.0,
    "cooccurrence.num_recent": 14,
    "cooccurrence.num_slots": 256,
    "cooccurrence.popularity_power": 0.1,
    "cooccurrence.position_decay": 0.9,
    "frequency.half_life_events": 200.0,
    "frequency.items_per_user": 128,
    "fusion.first_weights.baskets": 0.3,
    "fusion.first_weights.cooccurrence": 0.3,
    "fusion.first_weights.frequency": 0.1,
    "fusion.first_weights.mf": 0.1,
    "fusion.first_weights.neighbours": 0.3,
    "fusion.first_weights.popularity": 0.3,
    "fusion.first_weights.popularity_200": 0.0,
    "fusion.first_weights.popularity_2000": 0.0,
    "fusion.first_weights.popularity_200000": 0.0,
    "fusion.first_weights.recency": 0.1,
    "fusion.first_weights.sequence": 0.5,
    "fusion.first_weights.successors": 0.2,
    "fusion.first_weights.transitions": 0.5,
    "fusion.learning_rate": 0.01,
    "mf.learning_rate": 0.1,
    "mf.num_negatives": 64,
    "mf.width": 64,
    "neighbours.items_per_user": 30,
    "neighbours.num_nearest": 80,
    "neighbours.num_recent": 20,
    "neighbours.users_per_item": 64,
    "owned_capacity": 4096,
    "popularity.half_life_events": 20_000.0,
    "popularity_200.half_life_events": 200.0,
    "popularity_2000.half_life_events": 2_000.0,
    "popularity_200000.half_life_events": 200_000.0,
    "recency.position_decay": 0.8,
    "reranker.learning_rate": 0.005,
    "reranker.mean_steps": 200,
    "reranker.num_best": 64,
    "reranker.width": 64,
    "sequence.attention_heads": 2,
    "sequence.attention_items": 32,
    "sequence.clip_norm": 1.0,
    "sequence.learning_rate": 0.003,
    "sequence.max_full_softmax_items": 20_000,
    "sequence.mean_steps": 400,
    "sequence.num_negatives": 1024,
    "sequence.replay_capacity_events": 1 << 20,
    "sequence.replay_context": 10,
    "sequence.replay_targets": 6,
    "sequence.replay_weight": 0.4,
    "sequence.replay_windows": 16,
    "sequence.state_events": 16_000,
    "sequence.state_width": 128,
    "sequence.width": 64,
    "successors.half_life_events": 500_000.0,
    "successors.num_recent": 1,
    "successors.num_slots": 128,
    "successors.popularity_power": 0.1,
    "successors.position_decay": 0.8,
    "transitions.half_life_events": 500_000.0,
    "transitions.num_recent": 20,
    "transitions.num_slots": 256,
    "transitions.popularity_power": 0.1,
    "transitions.position_decay": 0.8,
}
"""Never to be changed: they say what was learned before states told it."""

_BEFORE_IT_WAS_TOLD: Mapping[str, Any] = {
    _MODEL_VERSION: FIRST_MODEL_VERSION,
    _DECODE_VERSION: FIRST_DECODE_VERSION,
    **{_HYPERPARAMETERS + name: value for name, value in _FIRST_HYPERPARAMETERS.items()},
}
"""What the states and journals that do not tell were learned with. A setting that becomes decisive is added here, with
the value that it had until then; at that value it is not hashed, so that the hashes of before stay what they are."""


def learner_config(settings: Settings) -> LearnerConfig:
    """Return the whole configuration of the model.

    Raises:
        ConfigError: a value is out of its range.
    """
    model = settings.model
    try:
        return LearnerConfig(
            **{name: getattr(model, name) for name in _SET_BY_PEOPLE},
            device=model.device,
            deterministic=model.deterministic,
        )
    except ModelConfigError as error:
        raise ConfigError(f"model: {error}") from error


def decisive_settings(settings: Settings) -> dict[str, Any]:
    """Return what decides what is learned from the same log and journal, as `section.key` to value."""
    sections = {
        "events": settings.events.model_dump(mode="json"),
        "evidence": settings.evidence.model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json", exclude=_WHERE_IT_RUNS),
        "quality": settings.quality.model_dump(mode="json"),
    }
    named = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    resolved = learner_config(settings).hyperparameters()
    brought = {_HYPERPARAMETERS + name: value for name, value in resolved.items() if name not in _SET_BY_PEOPLE}
    versions = {_MODEL_VERSION: MODEL_VERSION, _DECODE_VERSION: DECODE_VERSION}
    return {"topics.events": settings.topics.events} | named | versions | brought


def config_hash(settings: Settings) -> str:
    """Return 16 hex digits that differ when what is learned from the same log would differ."""
    told = {
        name: value
        for name, value in decisive_settings(settings).items()
        if name not in _BEFORE_IT_WAS_TOLD or value != _BEFORE_IT_WAS_TOLD[name]
    }
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def completed(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decisive settings of a checkpoint, with what it does not tell as it was when nobody told it."""
    return {**_BEFORE_IT_WAS_TOLD, **told}


def changed_settings(then: Mapping[str, Any], settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the decisive settings that are different now, as name to the values then and now.

    Args:
        then: what a checkpoint tells of the settings it was made with.
        settings: those of now.
    """
    before, now = completed(then), decisive_settings(settings)
    names = sorted({*before, *now})
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def is_of_software(name: str) -> bool:
    """Return whether a decisive setting is one that the software brings along, and nobody sets."""
    return name in (_MODEL_VERSION, _DECODE_VERSION) or name.startswith(_HYPERPARAMETERS)
