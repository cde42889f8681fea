"""The largest keys of each row of a table, in the order that makes results repeat."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["largest"]


def largest(keys: Tensor, k: int) -> Tensor:
    """Return the ``k`` largest of each row of ``keys`` ``[R, n]`` int64: ``[R, K]``, the largest first."""
    if keys.device.type != "cpu":
        return torch.topk(keys, k, dim=1).values
    # numpy's selection is several times as fast as torch's: it uses the vector instructions of the processor.
    best = np.partition(keys.numpy(), keys.shape[1] - k, axis=1)[:, -k:]
    return torch.from_numpy(np.sort(best, axis=1)[:, ::-1].copy())
