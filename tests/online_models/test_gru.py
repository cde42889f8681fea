"""The recurrence with its slopes by hand is the one of torch, on runs of every length."""

import numpy as np
import pytest
import torch
from torch import nn

from online_models.gru import run_gru


def packed(lengths: list[int], width: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return inputs for runs of these lengths, the longest first, and how many runs there are at each step."""
    counts = (np.array(lengths)[:, None] > np.arange(max(lengths))).sum(axis=0)
    return torch.randn(sum(lengths), width, dtype=torch.double, requires_grad=True), counts


@pytest.mark.parametrize("lengths", [[1], [5], [1, 1, 1], [4, 4], [6, 3, 3, 1]])
def test_states_and_slopes_are_those_of_torch(lengths: list[int]) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(3, 4).double()
    inputs, counts = packed(lengths, 3)
    states = torch.randn(len(lengths), 4, dtype=torch.double, requires_grad=True)
    sizes = torch.from_numpy(counts)

    ours = run_gru(gru, inputs, states, counts)
    theirs = gru(nn.utils.rnn.PackedSequence(inputs, sizes), states[None])[0].data

    assert torch.allclose(ours, theirs, atol=1e-12)
    leaves, asked = [inputs, states, *gru.parameters()], torch.randn_like(ours)
    slopes = [torch.autograd.grad((found * asked).sum(), leaves) for found in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_slopes_can_be_asked_for_again() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(3, 4).double()
    inputs, counts = packed([4, 2], 3)
    total = run_gru(gru, inputs, torch.zeros(2, 4, dtype=torch.double), counts).sum()

    first = torch.autograd.grad(total, list(gru.parameters()), retain_graph=True)
    again = torch.autograd.grad(total, list(gru.parameters()))

    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
