"""The weights of the sequence scorer: those that learn, and their running mean, which scores."""

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.config import SequenceConfig
from online_models.optim.adam import Adam, clipped
from online_models.optim.weight_averaging import follow, follow_rows, newest_shares
from online_models.scorers.sequence.network import RecurrentNetwork
from online_models.tables.growing import fresh_rows
from online_models.tables.table_set import Axis, Rows, TableSet

__all__ = ["SequenceWeights"]

Int64 = npt.NDArray[np.int64]
_INIT_SCALE = 0.05


class SequenceWeights(TableSet):
    """Item embeddings with a bias each, the recurrent network, their moments and their means."""

    def __init__(self, config: SequenceConfig, seed: int, device: torch.device) -> None:
        super().__init__(device)
        self.config = config
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        network = RecurrentNetwork(
            config.width, config.state_width, config.attention_items, config.attention_heads, generator
        ).to(device)
        self.network = self.part("network", network)
        self.mean_network = self.part("mean_network", copy.deepcopy(network).requires_grad_(False))
        fresh, plain = Rows(Axis.ITEMS, first=self._fresh), Rows(Axis.ITEMS)
        self.items = self.tensor("items", fresh, (config.width,))
        self.bias = self.tensor("bias", plain)
        self.mean_items = self.tensor("mean_items", fresh, (config.width,))
        self.mean_bias = self.tensor("mean_bias", plain)
        self.num_steps = self.tensor("num_steps", plain)  # of the optimizer, that each item took part in
        self.adam = self.part("adam", Adam(config.learning_rate))
        for name, parameter in self.network.named_parameters():
            self.adam.add(name, parameter.detach())

    def grow(self, num_users: int, num_items: int = 0) -> None:
        """Make room for items up to row ``num_items - 1``, with moments."""
        super().grow(num_users, num_items)
        self.adam.add("items", self.items, self.num_items)
        self.adam.add("bias", self.bias, self.num_items)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the embeddings, biases and moments of these items, and what they were on the average."""
        super().reset(user_rows, item_rows)
        rows = self.to(item_rows)
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
        return self.to(fresh_rows(self.seed, rows, self.config.width, _INIT_SCALE))
