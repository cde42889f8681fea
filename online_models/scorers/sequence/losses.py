"""Losses over the catalogue: the full softmax, and the corrected one over drawn items."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["full_logits_loss", "sampled_loss"]


def full_logits_loss(logits: Tensor, targets: Tensor, weights: Tensor, known: Tensor) -> Tensor:
    """Return the mean loss in nats of P questions over the known items.

    Evidence for an item (weight above 0) costs ``-w log p``, evidence against it ``-|w| log(1 - p)``
    (unlikelihood, Welleck et al., ICLR 2020, arXiv:1908.04319). Items never seen take no part: their
    scores are not pushed down.

    Args:
        logits: ``[P, I]`` float32.
        targets: ``[P]`` int64 columns.
        weights: ``[P]`` float32, 0 to leave a question out.
        known: ``[I]`` bool.
    """
    if not bool(known.all()):
        logits = logits.masked_fill(~known, -torch.inf)
    return _weighted(functional.log_softmax(logits, dim=1), targets, weights, known[targets])


def sampled_loss(logits: Tensor, weights: Tensor, is_known: Tensor) -> Tensor:
    """Return the mean loss of P questions over their target and N drawn items, which stand for all others.

    Args:
        logits: ``[P, 1 + N]`` float32, the target first, as it is: it is always there, once. Each drawn item less the
            log of how often it is expected among the N; minus infinity for a drawn item that is the target.
        weights, is_known: ``[P]``; a target that no event was evidence for is left out.

    Source: importance sampling of the partition function, Bengio and Senecal, AISTATS 2003.
    """
    first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return _weighted(functional.log_softmax(logits, dim=1), first, weights, is_known)


def _weighted(log_shares: Tensor, targets: Tensor, weights: Tensor, is_known: Tensor) -> Tensor:
    used = is_known & (weights != 0)
    log_p = log_shares.gather(1, targets[:, None])[:, 0]
    log_p = torch.where(used, log_p, -1.0)  # an unused question must not reach the gradient as 0 * inf
    cost_for = (-weights * log_p).masked_fill(~used | (weights < 0), 0.0).sum()
    return (cost_for + _against(log_shares, targets, weights, used)) / used.sum().clamp(min=1)


def _against(log_shares: Tensor, targets: Tensor, weights: Tensor, used: Tensor) -> Tensor:
    """Return the summed cost of evidence against items, whose slope at a logit is at most the weight.

    ``log(1 - p)`` is summed from the other items: from a ``p`` that rounds to 1 nothing could be unlearned.
    """
    places = torch.nonzero(used & (weights < 0))[:, 0]
    others = log_shares[places].scatter(1, targets[places, None], -torch.inf)
    possible = (others > -torch.inf).any(1)  # where there is no other item nothing can be likelier
    return (weights[places[possible]] * torch.logsumexp(others[possible], 1)).sum()
