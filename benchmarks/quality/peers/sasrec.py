"""A transformer over the history, trained for many epochs on the first half of the stream and then frozen."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["SasRecOffline"]

LENGTH = 50
WIDTH = 64
NUM_BLOCKS = 2
NUM_HEADS = 2
DROPOUT = 0.2
BATCH_WINDOWS = 64
LEARNING_RATE = 1e-3
HELD_OUT = 0.05
PATIENCE = 2
_LOWEST = -1e6
"""For items that came after training."""


class SasRecOffline:
    """Trained when it is first asked, on everything so far, until the loss on the last 5 % stops falling.

    Source: Kang and McAuley, ICDM 2018, arXiv:1808.09781, with the softmax over all items for loss instead of sampled
    binary cross-entropy, after Klenitskiy and Vasilev, RecSys 2023, arXiv:2309.07602: the stronger form.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._users = np.empty(sizes.num_events, np.int64)
        self._items = np.empty(sizes.num_events, np.int64)
        self._num_events = 0
        self._network: _Network | None = None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def score(self, asked: Questions) -> Float32:
        """Return the products of the encoded history with all items that were there in training."""
        if self._network is None:
            self._network = self._trained(asked.num_items)
        num_trained = self._network.items.num_embeddings - 1
        history = asked.context.item_rows[:, :LENGTH][:, ::-1]
        history = np.where((history != NO_ROW) & (history < num_trained), history + 1, 0)
        with torch.inference_mode():
            encoded = self._network(torch.from_numpy(history).to(self._device))[:, -1]
            scores = self._network.scores(encoded).cpu().numpy()
        wide = np.full((len(asked), asked.num_items), _LOWEST, np.float32)
        wide[:, :num_trained] = scores
        return wide

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Keep the events until training; afterwards nothing is learned."""
        if self._network is None:
            new = slice(self._num_events, self._num_events + len(item_rows))
            self._users[new], self._items[new] = asked.user_rows, item_rows
            self._num_events = new.stop

    def _trained(self, num_items: int) -> "_Network":
        torch.manual_seed(self._sizes.seed)
        network = _Network(num_items).to(self._device)
        windows, held_out = self._windows()
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, betas=(0.9, 0.98))
        best, best_loss, num_worse = copy.deepcopy(network.state_dict()), float("inf"), 0
        for _ in range(self._sizes.sasrec_epochs):
            network.train()
            for part in _parts(torch.randperm(len(windows))):
                optimizer.zero_grad()
                loss = network.loss(windows[part].to(self._device), ~held_out[part].to(self._device))
                torch.autograd.backward(loss)
                optimizer.step()
            network.eval()
            held_loss = _mean_loss(network, windows, held_out, self._device)
            if held_loss < best_loss:
                best, best_loss, num_worse = copy.deepcopy(network.state_dict()), held_loss, 0
            else:
                num_worse += 1
            if num_worse >= PATIENCE:
                break
        network.load_state_dict(best)
        return network.eval()

    def _windows(self) -> tuple[Tensor, Tensor]:
        """Return each user's items, oldest first, cut to windows ``[W, L + 1]`` from the end, 0 before the first.

        And which of them are held out, ``[W, L + 1]`` bool: the newest events of the stream.
        """
        users, items = self._users[: self._num_events], self._items[: self._num_events]
        order = np.argsort(users, kind="stable")
        is_held_out = order >= int((1.0 - HELD_OUT) * self._num_events)
        ends = np.append(np.flatnonzero(np.diff(users[order])) + 1, len(order))
        windows, held_out = [], []
        for start, stop in zip(np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True):
            for end in range(stop, start + 1, -LENGTH):  # a window of one event predicts nothing
                begin = max(start, end - LENGTH - 1)
                windows.append(np.pad(items[order[begin:end]] + 1, (LENGTH + 1 - (end - begin), 0)))
                held_out.append(np.pad(is_held_out[begin:end], (LENGTH + 1 - (end - begin), 0)))
        if not windows:
            return torch.zeros((0, LENGTH + 1), dtype=torch.int64), torch.zeros((0, LENGTH + 1), dtype=torch.bool)
        return torch.from_numpy(np.stack(windows)), torch.from_numpy(np.stack(held_out))


class _Network(nn.Module):
    """Item and position embeddings, causal transformer blocks; the item table is also the output. Row 0 is padding."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, WIDTH, padding_idx=0)
        self.positions = nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.dropout = nn.Dropout(DROPOUT)
        block = nn.TransformerEncoderLayer(
            WIDTH, NUM_HEADS, 4 * WIDTH, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, NUM_BLOCKS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``[n, L, D]`` from rows ``[n, L]``, oldest first."""
        length = rows.shape[1]
        # Positions are counted from the end, so that they mean the same however long a history is.
        encoded = self.items(rows) * WIDTH**0.5 + self.positions.weight[-length:]
        later = torch.triu(torch.ones(length, length, dtype=torch.bool, device=rows.device), 1)
        mask = later | (rows == 0)[:, None, :]
        # Padding looks at itself: a softmax over nothing is no number.
        mask = mask & ~torch.eye(length, dtype=torch.bool, device=rows.device)
        mask = mask.repeat_interleave(NUM_HEADS, dim=0)
        result: Tensor = self.norm(self.blocks(self.dropout(encoded), mask=mask))
        return result

    def scores(self, encoded: Tensor) -> Tensor:
        """Return ``[n, items]`` for all real items."""
        return encoded @ self.items.weight[1:].T

    def loss(self, windows: Tensor, is_counted: Tensor) -> Tensor:
        """Return the mean cross-entropy, nats, of the next items that are counted; 0 where there are none."""
        encoded, targets = self(windows[:, :-1]), windows[:, 1:]
        used = (targets != 0) & (windows[:, :-1] != 0) & is_counted[:, 1:]
        total: Tensor = nn.functional.cross_entropy(self.scores(encoded[used]), targets[used] - 1, reduction="sum")
        return total / used.sum().clamp(min=1)


def _parts(places: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(places), BATCH_WINDOWS):
        yield places[start : start + BATCH_WINDOWS]


def _mean_loss(network: _Network, windows: Tensor, held_out: Tensor, device: Any) -> float:
    total, num_counted = 0.0, 0
    with torch.inference_mode():
        for part in _parts(torch.arange(len(windows))[held_out.any(1)]):
            counted = int(((windows[part][:, 1:] != 0) & (windows[part][:, :-1] != 0) & held_out[part][:, 1:]).sum())
            total += counted * float(network.loss(windows[part].to(device), held_out[part].to(device)))
            num_counted += counted
    return total / max(num_counted, 1)
