"""Counts that fade, worked by hand."""

import math

import numpy as np
import pytest
import torch

from online_models import PopularityConfig
from online_models.scorers.popularity import Popularity
from online_models.scores import Candidates
from online_models.tables.decay import DecayingScale
from online_models.users.history import Histories
from tests.support.streams import events


def counts_after(*batches: tuple[list[int], list[float]]) -> list[float]:
    scorer = Popularity(PopularityConfig(half_life_events=2.0), torch.device("cpu"))
    histories = Histories(4)
    scorer.grow(4, 3)
    for items, weights in batches:
        step = histories.plan(events([0] * len(items), items, weights=weights))
        scorer.learn(step, torch.ones(3, dtype=torch.bool))
    scores = scorer.score(histories.context(np.array([0])), Candidates.all(3)).table()[0]
    return [math.exp(score) - 0.05 for score in scores.tolist()]


def test_counts_halve_after_a_half_life_of_events() -> None:
    assert counts_after(([0, 1], [1.0, 3.0])) == pytest.approx([0.5, 1.5, 0.0], abs=1e-5)
    assert counts_after(([0, 1], [1.0, 3.0]), ([2, 2], [1.0, 1.0])) == pytest.approx([0.25, 0.75, 1.0], abs=1e-5)


def test_evidence_against_an_item_stops_at_zero() -> None:
    assert counts_after(([0], [1.0]), ([0], [-5.0]), ([0, 1], [1.0, 1.0])) == pytest.approx([0.5, 0.5, 0], abs=1e-5)


def test_a_scale_asks_for_a_division_before_float32_overflows_and_loses_nothing() -> None:
    scale, stored = DecayingScale(10.0), 0.0
    for _ in range(500):
        stored += scale.value
        stored /= scale.advance(10)
        assert scale.value < 2.0**40

    # 1/2 + 1/4 + 1/8 + ... = 1
    assert stored / scale.value == pytest.approx(1.0)


def test_a_half_life_far_shorter_than_a_step_does_not_overflow() -> None:
    scale = DecayingScale(1e-6)

    assert np.isfinite(scale.advance(4096))
    assert scale.value == 1.0
