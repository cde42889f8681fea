"""The weights of the sequence scorer: those that learn, and their running mean, which scores."""

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.config import SequenceConfig
from online_models.optim.adam import Adam, clipped
from online_models.optim.weight_averaging import follow, follow_rows, newest_shares
from online_models.scorers.sequence.network import RecurrentNetwork
from online_models.tables.growing import allocated_rows, fresh_rows, grow_table
from online_models.tables.state_reader import Parts, Table, are_finite, copies
from online_models.tables.state_tree import State

__all__ = ["SequenceWeights"]

Int64 = npt.NDArray[np.int64]
_INIT_SCALE = 0.05


class SequenceWeights:
    """Item embeddings with a bias each, the recurrent network, their moments and their means."""

    def __init__(self, config: SequenceConfig, seed: int, device: torch.device) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        generator = torch.Generator().manual_seed(seed)
        self.network = RecurrentNetwork(
            config.width, config.state_width, config.attention_items, config.attention_heads, generator
        ).to(device)
        self.items = torch.zeros((0, config.width), device=device)
        self.bias = torch.zeros(0, device=device)
        self.mean_network = copy.deepcopy(self.network).requires_grad_(False)
        self.mean_items, self.mean_bias = self.items.clone(), self.bias.clone()
        self.num_steps = torch.zeros(0, device=device)  # of the optimizer, that each item took part in
        self.adam = Adam(config.learning_rate)
        for name, parameter in self.network.named_parameters():
            self.adam.add(name, parameter.detach())
        self.num_used = 0

    def grow(self, num_items: int) -> None:
        """Make room for items up to row ``num_items - 1``."""
        self.num_used = max(self.num_used, num_items)
        old = len(self.items)
        size = allocated_rows(num_items, old)
        if size == old:
            return
        self.items, self.bias = grow_table(self.items, size), grow_table(self.bias, size)
        self.mean_items, self.mean_bias = grow_table(self.mean_items, size), grow_table(self.mean_bias, size)
        self.num_steps = grow_table(self.num_steps, size)
        self.adam.add("items", self.items)
        self.adam.add("bias", self.bias)
        self.items[old:] = self.mean_items[old:] = self._fresh(np.arange(old, size))

    def reset(self, item_rows: Int64) -> None:
        """Forget the embeddings, biases and moments of these items, and what they were on the average."""
        if not len(item_rows):
            return
        rows = torch.from_numpy(item_rows).to(self.device)
        self.items[rows] = self.mean_items[rows] = self._fresh(item_rows)
        self.bias[rows] = self.mean_bias[rows] = self.num_steps[rows] = 0.0
        self.adam.reset("items", rows)
        self.adam.reset("bias", rows)

    def descend(
        self, loss: Tensor, items: Tensor, bias: Tensor, rows: Tensor | None, is_known: Tensor, share: float
    ) -> bool:
        """Take one step of Adam down the slope of ``loss``; return False if that was not finite and left out.

        Args:
            items: ``[m, D]`` the leaf of the graph that stands for the items that took part.
            bias: ``[m]`` that of their biases.
            rows: ``[m]`` int64 which items these are; None: the first m.
            is_known: ``[m]`` bool; the mean of an item begins with the step that knows it.
            share: of the learning rate.
        """
        leaves = {"items": items, "bias": bias, **dict(self.network.named_parameters())}
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        gradients, is_finite = clipped(list(found), self.config.clip_norm)
        if not bool(is_finite & torch.isfinite(loss)):
            return False
        tables = {name: leaf.detach() for name, leaf in leaves.items()} | {"items": self.items, "bias": self.bias}
        self.adam.step(tables, gradients, {} if rows is None else {"items": rows, "bias": rows}, share)
        self._follow(rows, is_known)
        return True

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {
            **copies(self._tables()),
            "network": self.network.state(),
            "mean_network": self.mean_network.state(),
            "adam": self.adam.state(self._num_moments()),
        }

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many items and the same widths; raises StateError when it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "network", "mean_network", "adam"])
        parts.fill(tables)
        parts.give("network", self.network)
        parts.give("mean_network", self.mean_network)
        with parts.below("adam") as moments:
            self.adam.load(moments, self._num_moments())

    def is_finite(self) -> bool:
        """Return whether no weight, mean or moment is NaN or infinite."""
        networks = (self.network, self.mean_network)
        is_finite = are_finite(self._tables().values()) and self.adam.is_finite()
        return is_finite and all(network.is_finite() for network in networks)

    def _follow(self, rows: Tensor | None, is_known: Tensor) -> None:
        """Move the means: of the whole network, and of the items that took part."""
        places: Tensor | slice = slice(len(is_known)) if rows is None else rows
        self.num_steps[places] += is_known
        shares = newest_shares(self.num_steps[places], self.config.mean_steps)
        follow_rows(self.mean_items, self.items, shares, rows)
        follow_rows(self.mean_bias, self.bias, shares, rows)
        with torch.no_grad():
            follow(
                self.mean_network.parameters(), self.network.parameters(), self.adam.num_steps, self.config.mean_steps
            )

    def _fresh(self, rows: Int64) -> Tensor:
        return torch.from_numpy(fresh_rows(self.seed, rows, self.config.width, _INIT_SCALE)).to(self.device)

    def _tables(self) -> dict[str, Table]:
        names = ("items", "bias", "mean_items", "mean_bias", "num_steps")
        return {name: getattr(self, name)[: self.num_used] for name in names}

    def _num_moments(self) -> Mapping[str, int]:
        return {"items": self.num_used, "bias": self.num_used}
