"""Wrong arrays, settings and devices are refused with a message that says what to do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models import (
    NO_ROW,
    ConfigError,
    FactorizationConfig,
    FrequencyConfig,
    FusionConfig,
    LearnerConfig,
    PopularityConfig,
    RecencyConfig,
    SequenceConfig,
    ShapeError,
    TopK,
    TransitionsConfig,
    resolve_device,
)
from tests.support.streams import events


def test_a_batch_with_arrays_of_different_lengths_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"item_rows: expected int64 \[2\], got int64 \[1\]"):
        replace(events([0, 1], [0, 1]), item_rows=np.zeros(1, np.int64))


def test_a_batch_with_another_dtype_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"weights: expected float32 \[1\], got float64 \[1\]"):
        replace(events([0], [0]), weights=np.zeros(1))


def test_a_batch_with_a_list_instead_of_an_array_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"reset_item_rows: expected int64 \[\*\], got list"):
        replace(events([0], [0]), reset_item_rows=[1])


def test_negative_rows_and_weights_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"user_rows: expected values in 0\.\.2147483646, got -1\.\.-1"):
        events([NO_ROW], [0])
    with pytest.raises(ShapeError, match=r"weights: expected finite values"):
        events([0], [0], weights=[float("nan")])


def test_a_part_of_a_batch_holds_the_events_and_not_the_resets() -> None:
    part = events([0, 1, 2], [3, 4, 5], reset_users=[9]).part(1, 3)

    assert (len(part), part.item_rows.tolist(), part.reset_user_rows.tolist()) == (2, [4, 5], [])


def test_lists_of_another_shape_are_refused() -> None:
    rows = np.zeros((2, 3), np.int64)
    with pytest.raises(ShapeError, match=r"scores: expected float32 \[2, 3\], got float32 \[2, 2\]"):
        TopK(user_rows=np.zeros(2, np.int64), item_rows=rows, scores=np.zeros((2, 2), np.float32), reasons=rows)


WRONG = [
    (LearnerConfig, "k", 0),
    (LearnerConfig, "sub_step_events", 0),
    (LearnerConfig, "history_length", 1),
    (LearnerConfig, "owned_capacity", 0),
    (LearnerConfig, "seed", -1),
    (LearnerConfig, "device", "tpu"),
    (PopularityConfig, "half_life_events", 0.0),
    (PopularityConfig, "half_life_events", float("nan")),
    (TransitionsConfig, "num_recent", 0),
    (TransitionsConfig, "position_decay", 1.5),
    (TransitionsConfig, "half_life_events", -1.0),
    (TransitionsConfig, "popularity_power", 2.0),
    (TransitionsConfig, "num_slots", 0),
    (RecencyConfig, "position_decay", 0.0),
    (FrequencyConfig, "items_per_user", 0),
    (FrequencyConfig, "items_per_user", 5000),
    (FrequencyConfig, "half_life_events", 0.0),
    (FactorizationConfig, "width", 0),
    (FactorizationConfig, "num_negatives", 0),
    (FactorizationConfig, "learning_rate", 0.0),
    (SequenceConfig, "width", 0),
    (SequenceConfig, "state_width", 0),
    (SequenceConfig, "learning_rate", float("nan")),
    (SequenceConfig, "clip_norm", 0.0),
    (SequenceConfig, "max_full_softmax_items", 0),
    (SequenceConfig, "num_negatives", 1),
    (SequenceConfig, "replay_windows", -1),
    (SequenceConfig, "replay_targets", 0),
    (SequenceConfig, "replay_context", 0),
    (SequenceConfig, "replay_weight", -0.1),
    (SequenceConfig, "attention_items", 0),
    (SequenceConfig, "attention_heads", 0),
    (SequenceConfig, "state_events", -1),
    (SequenceConfig, "replay_capacity_events", 0),
    (FusionConfig, "learning_rate", 0.0),
]


@pytest.mark.parametrize(("config", "name", "value"), WRONG)
def test_a_setting_out_of_range_is_refused_by_name(config: type, name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: expected .*, got "):
        config(**{name: value})


def test_the_cpu_is_always_there_and_an_unknown_device_never() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: expected one of auto, cpu, cuda, got 'tpu'"):
        resolve_device("tpu")


def test_asking_for_cuda_where_there_is_none_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ConfigError, match="take device = cpu or auto"):
        resolve_device("cuda")
    assert resolve_device("auto") == torch.device("cpu")
