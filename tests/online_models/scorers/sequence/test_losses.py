"""Losses and optimizers, worked by hand."""

import math

import pytest
import torch

from online_models.optim.adam import Adam, clipped, sum_by_row
from online_models.scorers.sequence.losses import full_logits_loss, sampled_loss

LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
KNOWN = torch.tensor([True, True, True])


def loss(target: int, weight: float, known: torch.Tensor = KNOWN) -> float:
    return full_logits_loss(LOGITS, torch.tensor([target]), torch.tensor([weight]), known).item()


def test_evidence_for_an_item_costs_its_log_probability_times_the_weight() -> None:
    assert loss(1, 2.0) == pytest.approx(2 * math.log(4))


def test_evidence_against_an_item_costs_the_log_probability_of_anything_else() -> None:
    assert loss(0, -3.0) == pytest.approx(3 * math.log(2))


def test_unknown_items_take_no_part() -> None:
    assert loss(1, 1.0, torch.tensor([True, True, False])) == pytest.approx(math.log(3))
    assert loss(2, -1.0, torch.tensor([True, True, False])) == 0.0


def test_unknown_items_are_not_pushed_down() -> None:
    logits = LOGITS.clone().requires_grad_()
    known = torch.tensor([True, True, False])
    full_logits_loss(logits, torch.tensor([1]), torch.ones(1), known).backward()

    assert logits.grad is not None
    assert logits.grad[0, 2] == 0


def test_a_certain_item_with_evidence_against_it_has_a_finite_loss_and_slope() -> None:
    logits = torch.tensor([[100.0, 0.0]], requires_grad=True)
    full_logits_loss(logits, torch.tensor([0]), torch.tensor([-1.0]), KNOWN[:2]).backward()

    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("lead", [0.5, 20.0, 80.0])
def test_evidence_against_an_item_moves_it_however_sure_the_model_is(lead: float) -> None:
    logits = torch.tensor([[lead, 0.0]], requires_grad=True)
    cost = full_logits_loss(logits, torch.tensor([0]), torch.tensor([-1.0]), KNOWN[:2])
    cost.backward()

    # -log(1 - p) = log(1 + exp(lead)), whose slope is p at the item and -p at the only other one.
    p = 1 / (1 + math.exp(-lead))
    assert cost.item() == pytest.approx(math.log1p(math.exp(lead)))
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([p, -p])


def test_evidence_against_a_sure_target_moves_it_among_drawn_items_too() -> None:
    logits = torch.tensor([[20.0, 0.0, -torch.inf]], requires_grad=True)
    sampled_loss(logits, torch.tensor([-2.0]), torch.tensor([True])).backward()

    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([2.0, -2.0, 0.0])


def test_evidence_against_the_only_known_item_changes_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    cost = full_logits_loss(logits, torch.tensor([0]), torch.tensor([-1.0]), torch.tensor([True, False, False]))
    cost.backward()

    assert cost.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_the_sampled_loss_is_the_log_probability_of_the_first_column() -> None:
    assert sampled_loss(LOGITS, torch.ones(1), torch.tensor([True])).item() == pytest.approx(math.log(2))


def test_the_first_step_of_adam_is_one_learning_rate_against_the_slope() -> None:
    adam, table = Adam(0.1), torch.zeros(3, 1)
    adam.add("table", table)
    adam.step({"table": table}, [torch.tensor([[4.0], [-0.5]])], {"table": torch.tensor([0, 2])})

    assert table[:, 0].tolist() == pytest.approx([-0.1, 0.0, 0.1])


def test_a_reset_row_starts_over() -> None:
    adam, table = Adam(0.1), torch.zeros(2, 1)
    adam.add("table", table)
    adam.step({"table": table}, [torch.ones(2, 1)])
    adam.reset("table", torch.tensor([0]))

    assert adam.means["table"][:, 0].tolist() == pytest.approx([0.0, 0.1])
    assert adam.squares["table"][:, 0].tolist() == pytest.approx([0.0, 0.02])


def test_long_gradients_are_scaled_to_the_limit_and_short_ones_left_alone() -> None:
    long, is_finite = clipped([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    assert [gradient.item() for gradient in long] == pytest.approx([0.6, 0.8], abs=1e-6)
    assert bool(is_finite)

    short, is_finite = clipped([torch.tensor([0.3]), torch.tensor([0.4])], 1.0)
    assert [gradient.item() for gradient in short] == pytest.approx([0.3, 0.4])
    assert bool(is_finite)


@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_no_number_is_noticed(broken: float) -> None:
    assert not bool(clipped([torch.tensor([3.0, broken]), torch.tensor([4.0])], 1.0)[1])


def test_repeats_of_a_row_are_summed() -> None:
    rows, sums = sum_by_row(torch.tensor([5, 2, 5]), torch.tensor([[1.0], [2.0], [3.0]]))

    assert (rows.tolist(), sums.tolist()) == ([2, 5], [[2.0], [4.0]])
