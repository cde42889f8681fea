"""Live quality: means of what the learner measured, over a window and over all; alarms when the loss rises."""

import logging
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from online_models import State, StateError, StepReport, digest, flatten, unflatten
from stream.config.settings import QualitySettings
from stream.learning.live_quality import Coverage, LiveQuality, ModelQuality


def step(ranks: list[float], losses: list[float] | None = None, tops: list[list[int]] | None = None) -> StepReport:
    """Return what a step measured: the model's ranks as given, the baselines always at 4."""
    num = len(ranks)
    flat = np.full(num, 4.0)
    top = np.array(tops or [[0, 1]] * num, np.int64).reshape(num, 2)
    return StepReport(
        num_events=num,
        num_learned=num,
        num_late=0,
        num_repeats=0,
        num_evaluated=num,
        num_nonfinite_steps=0,
        num_items_known=8,
        evaluated=np.arange(num),
        loss_nats=np.array(losses or [1.0] * num),
        ranks={"model": np.array(ranks), "transitions": flat, "popularity": flat},
        top_rows={"model": top, "transitions": top, "popularity": top},
        evaluate_seconds=0.0,
        learn_seconds=0.0,
    )


def test_hit_rate_ndcg_and_mrr_are_means_over_all_evaluated_events() -> None:
    quality = LiveQuality(QualitySettings(window_events=100), k=3)

    quality.update(step([1.0, 3.0, 4.0, np.inf]))

    read = quality.read()["model"]
    assert read["hit_ratio"] == (0.5, 0.5)  # ranks 1 and 3 are within 3
    assert read["ndcg_ratio"] == pytest.approx(((1 + 0.5) / 4,) * 2)  # 1/log2(2) = 1 and 1/log2(4) = 1/2
    assert read["mrr_ratio"] == pytest.approx(((1 + 1 / 3) / 4,) * 2)
    assert quality.read()["popularity"]["hit_ratio"] == (0.0, 0.0)


def test_the_sliding_window_forgets_and_the_overall_mean_does_not() -> None:
    quality = LiveQuality(QualitySettings(window_events=10), k=3)

    quality.update(step([1.0] * 10))
    quality.update(step([9.0] * 10))

    assert quality.read()["model"]["hit_ratio"] == pytest.approx((0.0, 0.5))
    assert quality.num_evaluated == 20


def test_coverage_counts_items_of_the_last_lists_and_of_all() -> None:
    coverage = Coverage(window=2)

    coverage.update(np.array([[0, 1], [2, -1]]))
    coverage.update(np.array([[2, 3], [2, 3]]))

    assert coverage.ratios(num_items=8) == (2 / 8, 4 / 8)


def test_a_rising_loss_is_an_alarm() -> None:
    rng = np.random.default_rng(1)
    quality = LiveQuality(QualitySettings(), k=3)
    quality.update(step([1.0] * 3000, losses=list(rng.normal(1.0, 0.1, 3000))))
    assert quality.num_drift_alarms == 0

    quality.update(step([1.0] * 3000, losses=list(rng.normal(3.0, 0.1, 3000))))

    assert quality.num_drift_alarms >= 1


def test_a_falling_loss_is_no_alarm() -> None:
    rng = np.random.default_rng(1)
    quality = LiveQuality(QualitySettings(), k=3)

    quality.update(step([1.0] * 6000, losses=[*rng.normal(3.0, 0.1, 3000), *rng.normal(1.0, 0.1, 3000)]))

    assert quality.num_drift_alarms == 0
    assert quality.loss_nats < 2.0


SETTINGS = QualitySettings(window_events=300)


def many_steps(seed: int, num: int) -> list[StepReport]:
    """Return steps of different sizes whose loss rises and falls again every 1,000 events, and whose lists differ."""
    rng, steps, seen = np.random.default_rng(seed), [], 0
    for _ in range(num):
        size = int(rng.integers(1, 20))
        level = 1.0 + 2.0 * (np.arange(seen, seen + size) // 1000 % 2)
        losses, ranks = rng.normal(level, 0.3).tolist(), rng.integers(1, 12, size).astype(float).tolist()
        steps.append(step(ranks, losses, [[a, a + 1] for a in rng.integers(0, 50, size).tolist()]))
        seen += size
    return steps


def taught(steps: Iterable[StepReport], config: QualitySettings = SETTINGS) -> LiveQuality:
    quality = LiveQuality(config, k=3)
    for report in steps:
        quality.update(report)
    return quality


def restored(state: State) -> LiveQuality:
    """Return a fresh object that took over `state` the way a file would bring it."""
    quality = LiveQuality(SETTINGS, k=3)
    quality.load(unflatten(flatten(state)))
    return quality


def changed(state: State, path: str, value: Any) -> dict[str, Any]:
    """Return `state` with another value at `path`; None: without that part."""
    name, _, rest = path.partition(".")
    tree: dict[str, Any] = dict(state)
    if rest:
        tree[name] = changed(tree[name], rest, value)
    elif value is None:
        del tree[name]
    else:
        tree[name] = value
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0, 1, 57, 333, 450])
def test_a_restored_quality_shows_to_the_last_bit_what_the_original_shows(cut: int) -> None:
    steps = many_steps(7, 600)
    original = taught(steps[:cut])
    copy = restored(original.state())
    alarms = copy.num_drift_alarms

    for report in steps[cut:]:
        original.update(report)
        copy.update(report)
        assert copy.read() == original.read()
        assert copy.loss_nats == original.loss_nats
        assert copy.num_drift_alarms == original.num_drift_alarms

    assert original.num_drift_alarms > alarms  # the detector was put to the test after the cut
    assert digest(copy.state()) == digest(original.state())
    assert list(copy.read()) == list(original.read())


def test_a_quality_saved_right_after_a_drift_goes_on_the_same() -> None:
    steps = [step([1.0], [loss]) for loss in np.random.default_rng(2).normal(1.0, 0.1, 640)]
    steps += [step([1.0], [loss]) for loss in np.random.default_rng(3).normal(4.0, 0.1, 640)]
    original = LiveQuality(SETTINGS, k=3)
    num_cuts = 0

    for at, report in enumerate(steps):
        before = original.num_drift_alarms
        original.update(report)
        if original.num_drift_alarms > before:
            copy, never_interrupted = restored(original.state()), taught(steps[: at + 1])
            for later in steps[at + 1 :]:
                copy.update(later)
                never_interrupted.update(later)
            assert digest(copy.state()) == digest(never_interrupted.state())
            num_cuts += 1

    assert num_cuts >= 1


def test_a_restored_quality_has_the_same_digest() -> None:
    original = taught(many_steps(3, 200))

    assert digest(restored(original.state()).state()) == digest(original.state())


def test_the_same_history_has_the_same_digest_and_another_has_not() -> None:
    steps = many_steps(3, 200)

    assert digest(taught(steps).state()) == digest(taught(steps).state())
    assert digest(taught(steps).state()) != digest(taught(steps[:-1]).state())


def test_a_state_of_a_quality_does_not_change_with_later_updates() -> None:
    steps = many_steps(3, 400)
    quality = taught(steps[:200])
    state = quality.state()
    before = digest(state)

    for report in steps[200:]:
        quality.update(report)

    assert digest(state) == before


def test_loading_leaves_the_state_to_its_owner() -> None:
    state = taught(many_steps(3, 100)).state()
    before = digest(state)
    quality = LiveQuality(SETTINGS, k=3)
    quality.load(state)

    for report in many_steps(4, 100):
        quality.update(report)

    assert digest(state) == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("window_events", 301, r"quality/window_events: expected 300, got 301"),
        ("k", 4, r"quality/k: expected 3, got 4"),
        ("drift_delta", 0.5, r"quality/drift_delta: expected 0\.002, got 0\.5"),
        ("num_items", None, r"quality/num_items: expected int, got nothing"),
        ("more", 1, r"quality/more: expected nothing, got int"),
        ("num_items", 8.0, r"quality/num_items: expected int, got float"),
        ("models", None, r"quality/models/model: expected state, got nothing"),
        ("models.model", None, r"quality/models/model: expected state, got nothing"),
        ("models.other", {}, r"quality/models/other: expected nothing, got state"),
        ("models.model.window", 9, r"quality/models/model/window: expected 300, got 9"),
        ("models.model.sliding.mrr_ratio", None, r"model/sliding/mrr_ratio: expected state, got nothing"),
        ("models.model.sliding.auc_ratio", {}, r"model/sliding/auc_ratio: expected nothing, got state"),
        ("models.model.overall.mrr_ratio", None, r"model/overall/mrr_ratio: expected state, got nothing"),
        ("models.model.overall.mrr_ratio.n", -1.0, r"model/overall/mrr_ratio/n: expected >= 0, got -1\.0"),
        ("models.model.coverage.ever", None, r"model/coverage/ever: expected bool\[\], got nothing"),
        ("loss.mean", None, r"quality/loss/mean: expected float, got nothing"),
        ("loss.values", np.zeros(301), r"quality/loss/values: expected at most 300, got 301"),
        ("loss.values", np.zeros((2, 2)), r"quality/loss/values: expected float64\[\], got float64\[\]\[\]"),
        ("loss.values", np.zeros(2, np.float32), r"quality/loss/values: expected float64\[\], got float32\[\]"),
        ("drift.mean_nats", None, r"quality/drift/mean_nats: expected float, got nothing"),
        ("drift.detector", b"", r"quality/drift/detector_sum: expected 0, got \d+"),
        ("drift.detector", b"\xff" * 1000, r"quality/drift/detector_sum: expected \d+, got \d+"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(path: str, value: Any, message: str) -> None:
    state = taught(many_steps(3, 50)).state()
    quality = taught(many_steps(4, 50))
    before = digest(quality.state())

    with pytest.raises(StateError, match=message):
        quality.load(changed(state, path, value))

    assert digest(quality.state()) == before


def test_the_detector_of_another_river_starts_anew_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    original = taught(many_steps(3, 200))
    drift = {**changed(original.state(), "k", None)["drift"], "river_version": "0.1.0", "detector": b"foreign"}
    quality = LiveQuality(SETTINGS, k=3)

    with caplog.at_level(logging.WARNING, logger="millstream"):
        quality.load({**original.state(), "drift": drift})

    (record,) = caplog.records
    fields = record.__dict__["fields"]
    assert record.message == "drift_detector_starts_anew"
    assert (fields["saved_by_river"], fields["river"]) == ("0.1.0", version("river"))
    fresh = LiveQuality(SETTINGS, k=3).state()
    assert digest(quality.state()) == digest({**original.state(), "drift": fresh["drift"]})


def test_the_same_lists_give_coverage_the_same_digest_however_they_came() -> None:
    at_once, one_by_one = Coverage(window=3), Coverage(window=3)
    lists = np.array([[5, 0], [1, -1], [-1, -1], [4, 2], [7, 8]])

    at_once.update(lists)
    for row in lists:
        one_by_one.update(row[None])

    ever = one_by_one.state()["ever"]  # rows 6 and 9 to 11 have room by now and were in no list
    assert isinstance(ever, np.ndarray)
    assert ever.tolist() == [True, True, True, False, True, True, False, True, True]
    assert digest(one_by_one.state()) == digest(at_once.state())


def test_a_coverage_shares_no_memory_with_a_state() -> None:
    original, copy = Coverage(window=2), Coverage(window=2)
    original.update(np.array([[0, 9]]))
    state = original.state()
    before = digest(state)
    copy.load(state)

    original.update(np.array([[3, 4]]))
    copy.update(np.array([[5, 6]]))
    assert digest(state) == before

    expected = digest(copy.state())
    for part in ("rows", "lengths", "ever"):
        array = state[part]
        assert isinstance(array, np.ndarray)
        array.fill(1)
    assert digest(copy.state()) == expected


@pytest.mark.parametrize("num_before", [0, 1, 2, 100])
def test_a_restored_coverage_goes_on_the_same(num_before: int) -> None:
    rng = np.random.default_rng(1)
    original, copy = Coverage(window=10), Coverage(window=10)
    for _ in range(num_before):
        original.update(rng.integers(0, 1000, (3, 1)))
    copy.load(unflatten(flatten(original.state())))

    for _ in range(20):
        lists = rng.integers(0, 2000, (3, 1))
        original.update(lists)
        copy.update(lists)
        assert copy.ratios(2000) == original.ratios(2000)
    assert digest(copy.state()) == digest(original.state())


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("window", 3, r"coverage/window: expected 2, got 3"),
        ("lengths", np.array([2, 2, 0]), r"coverage/lengths: expected at most 2, 4 in all, got 3, 4 in all"),
        ("lengths", np.array([2, 1]), r"coverage/lengths: expected at most 2, 4 in all, got 2, 3 in all"),
        ("lengths", np.array([5, -1]), r"coverage/lengths: expected at most 2, 4 in all, got 2, 4 in all"),
        ("rows", np.array([0, 1, 2, 9]), r"coverage/rows: expected only rows that ever were in a list"),
        ("rows", np.array([0, 1, 2, -1]), r"coverage/rows: expected only rows that ever were in a list"),
        ("ever", np.array([True, True, True, False]), r"coverage/rows: expected only rows that ever were in a list"),
    ],
)
def test_a_coverage_that_contradicts_itself_is_refused(part: str, value: Any, message: str) -> None:
    coverage = Coverage(window=2)
    coverage.update(np.array([[0, 1], [2, 3]]))

    with pytest.raises(StateError, match=message):
        Coverage(window=2).load({**coverage.state(), part: value})


def test_a_model_quality_is_saved_and_loaded_by_itself() -> None:
    original, copy = ModelQuality(window=3), ModelQuality(window=3)
    original.update("ndcg_ratio", np.array([0.1, 0.2, 0.7, 0.3]))
    original.coverage.update(np.array([[1, 2]]))

    copy.load(original.state())

    assert copy.read(4) == original.read(4)
    assert copy.read(4)["ndcg_ratio"] == pytest.approx((0.4, 0.325))
    assert copy.read(4)["coverage_ratio"] == (0.5, 0.5)
    with pytest.raises(StateError, match=r"model/window: expected 4, got 3"):
        ModelQuality(window=4).load(original.state())
