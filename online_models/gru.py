"""The gated recurrent unit over packed runs; on the CPU with its slopes by hand: few operations, none on padding."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["run_gru"]


def run_gru(gru: nn.GRU, inputs: Tensor, states: Tensor, counts: npt.NDArray[np.int64]) -> Tensor:
    """Return the states ``[S, H]`` after each of the inputs ``[S, D]`` of N runs; of one layer.

    Args:
        inputs: packed: first those that are the first of a run, then the second ones and so on, the longest run first.
        states: ``[N, H]`` that the runs begin with, the longest first.
        counts: ``[T]`` int64, descending, the first is N, at least 1: how many inputs are the first of a run, how many
            the second and so on.

    Source: Cho et al., EMNLP 2014, arXiv:1406.1078, in the variant of cuDNN that ``torch.nn.GRU`` documents.
    """
    if inputs.device.type != "cpu":
        packed = nn.utils.rnn.PackedSequence(inputs, torch.from_numpy(counts))
        hidden: Tensor = gru(packed, states[None])[0].data
        return hidden
    weight_in, weight_past, bias_in, bias_past = gru.parameters()
    gates = functional.linear(inputs, weight_in, bias_in)
    arguments = gates, states, weight_past, bias_past, counts.tolist()
    found: Tensor = _Recurrence.apply(*arguments)  # type: ignore[no-untyped-call]
    return found


class _Recurrence(torch.autograd.Function):
    """All steps from the inputs' part of the gates ``[S, 3H]``: reset, update, new."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, states: Tensor, weight: Tensor, bias: Tensor, counts: list[int]) -> Tensor:
        width = states.shape[1]
        # Above the states after each input are those before the first, so that all that are read are one table.
        hidden = torch.cat([states, gates.new_empty((len(gates), width))])
        switches = gates[:, : 2 * width].clone()  # reset and update
        news = gates[:, 2 * width :].clone()
        pasts = torch.empty_like(news)  # what the past says to the new, before the reset
        across = weight.T
        for read, begin, end in _steps(counts):
            before = hidden[read : read + end - begin]
            said = torch.addmm(bias, before, across)
            switch, new, past = switches[begin:end], news[begin:end], pasts[begin:end]
            switch.add_(said[:, : 2 * width]).sigmoid_()
            past.copy_(said[:, 2 * width :])
            new.addcmul_(switch[:, :width], past).tanh_()
            torch.lerp(new, before, switch[:, width:], out=hidden[len(states) + begin : len(states) + end])
        ctx.save_for_backward(hidden, switches, news, pasts, weight)
        ctx.counts = counts
        return hidden[len(states) :]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        hidden, switches, news, pasts, weight = ctx.saved_tensors
        (slope,) = slopes
        width, num_runs = news.shape[1], ctx.counts[0]
        resets, updates = switches[:, :width], switches[:, width:]
        steps = _steps(ctx.counts)
        read = torch.cat([hidden[first : first + end - begin] for first, begin, end in steps])
        by_new = (1.0 - updates).mul_(1.0 - news * news)
        by_update = (read - news).mul_(updates).mul_(1.0 - updates)
        by_reset = (pasts * resets).mul_(1.0 - resets)
        of_past = torch.empty((len(news), 3 * width), dtype=news.dtype)
        of_new = torch.empty_like(news)
        left = torch.zeros((num_runs, width), dtype=news.dtype)
        for _, begin, end in reversed(steps):
            here, new, total = of_past[begin:end], of_new[begin:end], left[: end - begin].add_(slope[begin:end])
            torch.mul(total, by_new[begin:end], out=new)
            torch.mul(new, by_reset[begin:end], out=here[:, :width])
            torch.mul(total, by_update[begin:end], out=here[:, width : 2 * width])
            torch.mul(new, resets[begin:end], out=here[:, 2 * width :])
            total.mul_(updates[begin:end]).addmm_(here, weight)
        of_weight, of_bias = of_past.T @ read, of_past.sum(0)
        of_past[:, 2 * width :] = of_new
        return of_past, left, of_weight, of_bias, None


def _steps(counts: list[int]) -> list[tuple[int, int, int]]:
    """Return for each step where the states that it reads begin, and begin and end of its inputs."""
    steps, read, begin = [], 0, 0
    for place, count in enumerate(counts):
        steps.append((read, begin, begin + count))
        read += counts[max(place - 1, 0)]
        begin += count
    return steps
