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
        said = torch.empty_like(gates)  # by the past
        resets, updates = torch.split(switches, width, 1)
        switched, pasts = torch.split(said, 2 * width, 1)  # what it says to the new counts after the reset
        (before, *after), across = torch.split(hidden, [len(states), *counts]), weight.T
        # In blocks of a step, all made at once: a slice at a time would cost more than what is done with it.
        tables = (said, switched, switches, resets, pasts, news, updates)
        for count, now, *blocks in zip(counts, after, *(torch.split(table, counts) for table in tables), strict=True):
            all_said, to_switch, switch, reset, past, new, update = blocks
            before = before if len(before) == count else before[:count]
            torch.addmm(bias, before, across, out=all_said)
            switch.add_(to_switch).sigmoid_()
            new.addcmul_(reset, past).tanh_()
            before = torch.lerp(new, before, update, out=now)
        ctx.save_for_backward(hidden, switches, news, pasts, weight)
        ctx.counts = counts
        return hidden[len(states) :]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        hidden, switches, news, pasts, weight = ctx.saved_tensors
        width, counts = news.shape[1], ctx.counts
        resets, updates = torch.split(switches, width, 1)
        blocks = torch.split(hidden, [counts[0], *counts])
        read = torch.cat([block[:count] for block, count in zip(blocks, counts, strict=False)])
        by_new = (1.0 - updates).mul_(1.0 - news * news)
        by_update = (read - news).mul_(updates).mul_(1.0 - updates)
        by_reset = (pasts * resets).mul_(1.0 - resets)
        of_past = torch.empty((len(news), 3 * width), dtype=news.dtype)
        of_new = torch.empty_like(news)
        left = torch.zeros((counts[0], width), dtype=news.dtype)
        tables = (
            *slopes,
            by_new,
            by_update,
            by_reset,
            resets,
            updates,
            of_new,
            of_past,
            *torch.split(of_past, width, 1),
        )
        steps = zip(counts, *(torch.split(table, counts) for table in tables), strict=True)
        for count, slope, to_new, to_update, to_reset, reset, update, new, here, *parts in reversed(list(steps)):
            total = left[:count].add_(slope)
            torch.mul(total, to_new, out=new)
            for said, by, part in zip((new, total, new), (to_reset, to_update, reset), parts, strict=True):
                torch.mul(said, by, out=part)
            total.mul_(update).addmm_(here, weight)
        of_weight, of_bias = of_past.T @ read, of_past.sum(0)
        of_past[:, 2 * width :] = of_new
        return of_past, left, of_weight, of_bias, None
