"""What decides what is learned is hashed whole: what people set, and what the software brings along."""

from dataclasses import replace
from typing import Any

import pytest

from online_models import MODEL_VERSION, FusionConfig, LearnerConfig, TransitionsConfig
from online_models.config import FIRST_WEIGHTS
from stream.config.loading import load_config
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.learning import decisive
from stream.learning.decisive import (
    changed_settings,
    completed,
    config_hash,
    decisive_settings,
    is_of_software,
    learner_config,
)
from stream.wire.schema import FIRST_MODEL_VERSION

HASH_OF_DEFAULTS = "5f4ee439b0956d38"
"""As journals and checkpoints hold it since before the software's own part was hashed."""


def with_flags(flags: dict[str, str]) -> Settings:
    return load_config(flags=flags, environ={}).settings


def test_the_hash_changes_with_what_is_learned_and_only_with_that() -> None:
    plain = config_hash(Settings())

    assert config_hash(with_flags({"log.level": "DEBUG", "model.device": "cpu"})) == plain
    assert config_hash(with_flags({"evidence.view": "0.9"})) != plain


def test_what_was_hashed_before_the_software_was_told_has_the_hash_that_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config_hash(Settings()) != HASH_OF_DEFAULTS  # model and decoding are others by now

    monkeypatch.setattr(decisive, "MODEL_VERSION", FIRST_MODEL_VERSION)
    monkeypatch.setattr(decisive, "DECODE_VERSION", 1)

    assert config_hash(Settings()) == HASH_OF_DEFAULTS


def test_every_hyperparameter_and_both_versions_are_among_what_decides() -> None:
    told = decisive_settings(Settings())

    assert told["model.version"] == MODEL_VERSION
    assert told["events.decode_version"] == 2
    assert told["model.hyperparameters.sequence.width"] == 64
    assert told["model.hyperparameters.fusion.first_weights.transitions"] == 0.5
    for name in LearnerConfig().hyperparameters():
        assert f"model.{name}" in told or f"model.hyperparameters.{name}" in told, name


def test_one_name_is_told_once() -> None:
    """A field of the model that is a setting is not told as a hyperparameter as well."""
    told = decisive_settings(Settings())

    assert [name for name in told if f"model.hyperparameters.{name.removeprefix('model.')}" in told] == []


def test_only_what_nobody_sets_is_of_the_software() -> None:
    told = decisive_settings(Settings())
    ours = [name for name in told if is_of_software(name)]

    assert {"model.version", "events.decode_version", "model.hyperparameters.mf.width"} <= set(ours)
    assert not {"model.seed", "evidence.view", "topics.events", "events.dedup_window"} & set(ours)


CHANGED_DEFAULTS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "a memory": ("transitions.num_recent", 12, {"transitions": TransitionsConfig(num_recent=12)}),
    "a first trust": (
        "fusion.first_weights.transitions",
        0.4,
        {"fusion": FusionConfig(first_weights={**FIRST_WEIGHTS, "transitions": 0.4})},
    ),
    "a bound": ("owned_capacity", 100, {"owned_capacity": 100}),
}


@pytest.mark.parametrize("which", CHANGED_DEFAULTS)
def test_a_changed_default_is_another_hash_and_is_told_by_name(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value, change = CHANGED_DEFAULTS[which]
    before, told = config_hash(Settings()), decisive_settings(Settings())
    monkeypatch.setattr(decisive, "learner_config", lambda settings: replace(learner_config(settings), **change))

    assert config_hash(Settings()) != before
    full = f"model.hyperparameters.{name}"
    assert changed_settings(told, Settings()) == {full: (told[full], value)}


@pytest.mark.parametrize("version", ["MODEL_VERSION", "DECODE_VERSION"])
def test_another_version_is_another_hash(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = config_hash(Settings())
    monkeypatch.setattr(decisive, version, 99)

    assert config_hash(Settings()) != before


def test_what_nobody_told_is_what_it_was_before_it_was_told() -> None:
    """A checkpoint that names people's settings alone is one of the first told version, with its hyperparameters."""
    told = {name: value for name, value in decisive_settings(Settings()).items() if not is_of_software(name)}

    full = completed(told)
    assert full["model.version"] == 6
    assert full["events.decode_version"] == 1
    assert full["model.hyperparameters.sequence.learning_rate"] == 0.003
    assert completed({**told, "model.version": 9})["model.version"] == 9


def test_a_value_of_the_model_out_of_range_is_an_error_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_models.config.DEVICES", ("cuda",))

    with pytest.raises(ConfigError, match="model: device"):
        learner_config(with_flags({"model.device": "cpu"}))
