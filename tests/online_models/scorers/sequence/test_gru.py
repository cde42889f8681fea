"""The recurrence with its slopes by hand is the one of torch, on runs of every length."""

import numpy as np
import pytest
import torch
from torch import nn

from online_models.scorers.sequence.gru import run_gru


def random(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.double, generator=generator).requires_grad_()


def unit() -> nn.GRU:
    gru = nn.GRU(3, 4).double()
    for number, parameter in enumerate(gru.parameters()):
        parameter.data = random(*parameter.shape, seed=number).detach()
    return gru


def packed(lengths: list[int], width: int) -> tuple[torch.Tensor, np.ndarray]:
    """Return inputs for runs of these lengths, the longest first, and how many runs there are at each step."""
    counts = (np.array(lengths)[:, None] > np.arange(max(lengths))).sum(axis=0)
    return random(sum(lengths), width, seed=10), counts


@pytest.mark.parametrize("lengths", [[1], [5], [1, 1, 1], [4, 4], [6, 3, 3, 1]])
def test_states_and_slopes_are_those_of_torch(lengths: list[int]) -> None:
    gru = unit()
    inputs, counts = packed(lengths, 3)
    states = random(len(lengths), 4, seed=11)
    sizes = torch.from_numpy(counts)

    ours = run_gru(gru, inputs, states, counts)
    theirs = gru(nn.utils.rnn.PackedSequence(inputs, sizes), states[None])[0].data

    assert torch.allclose(ours, theirs, atol=1e-12)
    leaves, asked = [inputs, states, *gru.parameters()], random(*ours.shape, seed=12)
    slopes = [torch.autograd.grad((found * asked).sum(), leaves) for found in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_slopes_can_be_asked_for_again() -> None:
    gru = unit()
    inputs, counts = packed([4, 2], 3)
    total = run_gru(gru, inputs, torch.zeros(2, 4, dtype=torch.double), counts).sum()

    first = torch.autograd.grad(total, list(gru.parameters()), retain_graph=True)
    again = torch.autograd.grad(total, list(gru.parameters()))

    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
