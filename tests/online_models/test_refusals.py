"""What goes wrong is refused or shown as it is, and leaves nothing half done."""

import warnings

import numpy as np
import pytest
import torch

from online_models import CapacityError, ConfigError, LearnerConfig, OnlineLearner, PartitionedIndex, ShapeError
from online_models.scorers.sequence.scorer import SequenceScorer
from tests.support.streams import events, small_config


def test_a_broken_model_looks_broken_and_not_perfect() -> None:
    learner = OnlineLearner(small_config("sequence"))
    learner.step(events([0, 0, 0, 0], [0, 1, 2, 3], [1, 2, 3, 4]))
    sequence = learner._scorers["sequence"]
    assert isinstance(sequence, SequenceScorer)
    with torch.no_grad():
        sequence.weights.network.norm.weight[0] = torch.nan
        sequence.weights.mean_network.norm.weight[0] = torch.nan

    report = learner.step(events([1, 1], [0, 1], [5, 6]))

    assert np.isinf(report.ranks["model"]).all()
    assert np.isfinite(report.ranks["transitions"]).any()
    assert report.loss_nats == pytest.approx(np.log([5.0, 5.0]))  # four items known and one more


def test_a_growth_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = OnlineLearner(small_config("sequence"))

    def fail(num_users: int) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(learner._owned, "grow", fail)
        with pytest.raises(MemoryError):
            learner.step(events([5_000], [0], [1]))

    report = learner.step(events([5_000], [0], [1]))
    assert report.num_learned == 1
    assert learner.history(5_000).tolist() == [0]


def test_a_row_that_no_table_can_name_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"batch\.item_rows: expected values in -1\.\.2147483646"):
        events([0], [2**31 - 1], [1])


def test_a_list_for_a_row_below_zero_is_refused() -> None:
    with pytest.raises(ShapeError, match="user_rows: expected values >= 0, got -1"):
        OnlineLearner(small_config("sequence")).rank(np.array([-1]), 3)


def test_half_a_list_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"k: expected 1\.\.1000, got 2\.5"):
        LearnerConfig(k=2.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"sub_step_events: expected 1\.\.512, got 513"):
        LearnerConfig(sub_step_events=513)


def test_arrays_that_may_not_be_written_to_are_read_without_a_warning() -> None:
    batch = events([0, 1], [0, 1], [1, 2])
    for array in (batch.user_rows, batch.item_rows, batch.event_types, batch.times_ms, batch.weights, batch.owns):
        array.flags.writeable = False

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = OnlineLearner(small_config("sequence")).step(batch)

    assert report.num_learned == 2


def test_partitions_of_which_one_has_too_many_ids_change_nothing() -> None:
    users = PartitionedIndex(2, 4)
    users.rows_for([0, 0], ["a", "b"])

    with pytest.raises(CapacityError):
        users.rows_for([0, 0, 1, 1, 1], ["c", "d", "x", "y", "z"])

    assert (len(users), users.num_evictions) == (2, 0)
    assert users.rows_for([0], ["c"])[1].tolist() == [0]  # "a" still held row 0
