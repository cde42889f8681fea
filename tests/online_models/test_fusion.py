"""Trust in channels climbs the likelihood."""

import numpy as np
import pytest
import torch

from online_models import FusionConfig
from online_models.fusion import Fusion, Mixture

CHANNELS = ("sequence", "popularity")


def test_history_lengths_fall_into_one_bucket_per_power_of_two() -> None:
    fusion = Fusion(FusionConfig(), CHANNELS, 8)

    assert fusion.buckets(np.array([0, 1, 2, 3, 4, 7, 8])).tolist() == [0, 1, 2, 2, 3, 3, 4]
    assert len(fusion.weights) == 5


def test_the_mix_is_the_weighted_sum_of_the_bucket() -> None:
    fusion = Fusion(FusionConfig(), CHANNELS, 8)
    fusion.weights[2] = torch.tensor([2.0, -1.0])

    mixed = fusion.mix([torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 8.0]])], torch.tensor([2]))

    assert mixed.tolist() == [[-2.0, -4.0]]


def test_the_slope_is_that_of_the_log_loss_over_what_may_be_listed() -> None:
    scores = [torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    fusion, buckets, targets = Fusion(FusionConfig(), CHANNELS, 8), torch.tensor([0, 1, 1]), torch.tensor([0, 4, 2])
    blocked = torch.zeros(3, 5, dtype=torch.bool)
    blocked[:, 3] = True
    weights = fusion.weights[buckets].clone().requires_grad_()
    mixed = (torch.stack(scores, 2) * weights[:, None, :]).sum(2).masked_fill(blocked, -torch.inf)
    torch.nn.functional.cross_entropy(mixed, targets, reduction="sum").backward()

    slopes = fusion.gradients(scores, Mixture(fusion.mix(scores, buckets), blocked), targets)

    assert weights.grad is not None
    assert torch.allclose(slopes, weights.grad, atol=1e-6)


def test_a_channel_that_is_right_gains_trust_in_its_bucket_alone() -> None:
    fusion = Fusion(FusionConfig(learning_rate=0.1), CHANNELS, 8)
    before = fusion.weights.clone()

    assert fusion.learn(torch.tensor([[-1.0, 0.5]]), torch.tensor([1]))

    # The first step of Adam is one learning rate against the sign of the slope, a little less for its floor.
    assert (fusion.weights - before)[1].tolist() == pytest.approx([0.1, -0.1], abs=2e-3)
    assert torch.equal(fusion.weights[[0, 2, 3, 4]], before[[0, 2, 3, 4]])


def test_slopes_of_rounding_errors_do_not_move_trust() -> None:
    fusion = Fusion(FusionConfig(learning_rate=0.1), CHANNELS, 8)
    before = fusion.weights.clone()
    for _ in range(100):
        fusion.learn(torch.tensor([[1e-6, -1e-6]]), torch.tensor([1]))

    assert torch.allclose(fusion.weights, before, atol=0.1)


def test_a_slope_that_is_not_finite_changes_nothing() -> None:
    fusion = Fusion(FusionConfig(), CHANNELS, 8)
    before = fusion.weights.clone()

    assert not fusion.learn(torch.tensor([[float("nan"), 0.5]]), torch.tensor([1]))
    assert torch.equal(fusion.weights, before)


def test_where_nothing_may_be_listed_probabilities_are_zero() -> None:
    mixture = Mixture(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))

    assert mixture.probabilities(mixture.scores).tolist() == [[0.0, 0.0]]
