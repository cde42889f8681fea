"""Trust in channels climbs the likelihood."""

import pytest
import torch

from online_models import FusionConfig
from online_models.config import FIRST_WEIGHTS
from online_models.ranking.fusion import Fusion
from online_models.ranking.mixture import mix
from tests.support.mixtures import dense, listable

CHANNELS = ("sequence", "popularity")
NUM_BUCKETS = 6
PLACES = torch.tensor([[0, 2, 4], [0, 3, 4], [0, 3, 4]])
"""Buckets of three questions: all are in the first and the fifth."""


def make_fusion(learning_rate: float = 0.01) -> Fusion:
    return Fusion(FusionConfig(learning_rate=learning_rate), CHANNELS, NUM_BUCKETS)


def test_the_weights_of_a_query_are_the_sum_over_its_buckets() -> None:
    fusion = make_fusion()
    fusion.weights[0] = torch.tensor([1.0, 0.5])
    fusion.weights[2] = torch.tensor([1.0, -1.5])

    assert fusion.weights_of(torch.tensor([[0, 2, 4]])).tolist() == [[2.0, -1.0]]


def test_before_anything_is_learned_all_situations_have_the_first_weights() -> None:
    weights = make_fusion().weights[torch.tensor([[0, 1, 5], [0, 2, 4]])].sum(1)

    assert weights.tolist() == [pytest.approx([FIRST_WEIGHTS[name] for name in CHANNELS])] * 2


def test_the_slope_is_that_of_the_log_loss_over_what_may_be_listed() -> None:
    scores = [torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    fusion, targets = make_fusion(), torch.tensor([0, 4, 2])
    blocked = torch.zeros(3, 5, dtype=torch.bool)
    blocked[:, 3] = True
    weights = fusion.weights[PLACES].sum(1).requires_grad_()
    mixed = (torch.stack(scores, 2) * weights[:, None, :]).sum(2).masked_fill(blocked, -torch.inf)
    torch.nn.functional.cross_entropy(mixed, targets, reduction="sum").backward()

    channels = [dense(table) for table in scores]
    slopes = fusion.slopes(channels, mix(channels, fusion.weights_of(PLACES), listable(blocked), targets), targets)

    assert weights.grad is not None
    assert torch.allclose(slopes, weights.grad, atol=1e-6)


def test_a_channel_that_is_right_gains_trust_in_the_buckets_of_the_question_alone() -> None:
    fusion = make_fusion(0.1)
    before = fusion.weights.clone()

    assert fusion.learn(torch.tensor([[-1.0, 0.5]]), torch.tensor([[0, 2, 4]]))

    # The first step of Adam is one learning rate against the sign of the slope, a little less for its floor.
    for bucket in (0, 2, 4):
        assert (fusion.weights - before)[bucket].tolist() == pytest.approx([0.1, -0.1], abs=1e-2)
    assert torch.equal(fusion.weights[[1, 3, 5]], before[[1, 3, 5]])


def test_trust_that_is_learned_in_one_situation_is_not_lost_in_another() -> None:
    """Two situations in which the other channel is right: a single weight for both could not tell them apart."""
    fusion = make_fusion(0.05)
    for _ in range(200):
        fusion.learn(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), torch.tensor([[0, 1], [0, 2]]))

    weights = fusion.weights[torch.tensor([[0, 1], [0, 2]])].sum(1)

    assert weights[0, 0] > weights[0, 1] + 1.0
    assert weights[1, 1] > weights[1, 0] + 1.0


def test_slopes_of_rounding_errors_do_not_move_trust() -> None:
    fusion = make_fusion(0.1)
    before = fusion.weights.clone()
    for _ in range(100):
        fusion.learn(torch.tensor([[1e-6, -1e-6]]), torch.tensor([[0, 1]]))

    assert torch.allclose(fusion.weights, before, atol=0.1)


def test_a_slope_that_is_not_finite_changes_nothing() -> None:
    fusion = make_fusion()
    before = fusion.weights.clone()

    assert not fusion.learn(torch.tensor([[float("nan"), 0.5]]), torch.tensor([[0, 1]]))
    assert torch.equal(fusion.weights, before)


def test_the_mean_weights_count_every_situation_as_often_as_it_was_asked() -> None:
    fusion = make_fusion()
    fusion.learn(torch.zeros(4, 2), torch.tensor([[0, 1], [0, 1], [0, 1], [0, 2]]))
    fusion.weights.zero_()
    fusion.weights[1], fusion.weights[2] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])

    assert fusion.mean_weights() == pytest.approx({"sequence": 0.75, "popularity": 0.5})
