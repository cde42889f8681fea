"""Live quality: means of what the learner measured, over a window and over all; alarms when the loss rises."""

import numpy as np
import pytest

from online_models import StepReport
from stream.quality import Coverage, LiveQuality
from stream.settings import QualitySettings


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
