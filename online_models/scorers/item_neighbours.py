"""A bounded memory of which items come with which, and what it says of the items that a history leads to.

Every item remembers a fixed number of neighbours in slots; the one with the least evidence makes room for a new one.
What counts as a pair, and what the evidence for it is worth, is the policy of each channel.
"""

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.config import TransitionsConfig
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Cells, Scores, constant
from online_models.tables.decay import DecayingScale
from online_models.tables.growing import add_at
from online_models.tables.select import largest
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

__all__ = ["ItemNeighbours", "Policy", "norms"]

Int64 = npt.NDArray[np.int64]
_KEY_BITS = 32
_SLOT_BITS = 12


class Policy(Protocol):
    """What one channel counts as a pair of items, and what it makes of the evidence."""

    smoothing: float
    """Evidence that every item is taken to have: one that was never seen with the history is unlikely, not
    impossible."""
    inherits: bool
    """Whether a new neighbour takes over the evidence of the one whose place it takes; else it must bring as much."""
    is_symmetric: bool
    """Whether a pair is evidence both ways."""
    evidence_decay: float
    """Worth of a pair with the item before in the history, against the newest."""

    def sources(self, items: Int64, context: Context) -> Int64:
        """Return the newest ``items`` ``[R, N]`` of the histories, ``NO_ROW`` for those that nothing is asked of."""

    def earlier(self, sources: Int64, step: SubStep) -> Int64:
        """Return the ``sources`` ``[B, N]`` before each event, ``NO_ROW`` for those that it makes no pair with."""

    def source_worth(self, counts: Tensor) -> Tensor | None:
        """Return what evidence from items with these decayed counts ``[n]`` is worth; None: 1 each."""

    def target_worth(self, counts: Tensor) -> Tensor:
        """Return what evidence for items with these decayed counts ``[I]`` is worth."""

    def sharpened(self, evidence: Tensor) -> Tensor:
        """Return the evidence as it is added up, changed in place."""


class ItemNeighbours(Scorer):
    """Scores items by the evidence that the newest items of the history give them.

    Source: item-to-item co-occurrence after Linden, Smith and York, IEEE Internet Computing 2003. Here counts fade with
    the number of events and the memory is bounded per item.
    """

    def __init__(self, config: TransitionsConfig, policy: Policy, device: torch.device) -> None:
        super().__init__(device)
        self.config = config
        self.policy = policy
        self.scale = self.part("scale", DecayingScale(config.half_life_events))
        slots = (config.num_slots,)
        named = Rows(Axis.ITEMS, fill=NO_ROW, refers_to=Axis.ITEMS, cleared_with=("weights",))
        self.neighbours = self.tensor("neighbours", named, slots, torch.int32)
        self.weights = self.tensor("weights", Rows(Axis.ITEMS), slots)
        self.counts = self.tensor("counts", Rows(Axis.ITEMS))  # evidence per target, in the unit of the weights
        places = torch.arange(config.num_recent, dtype=torch.float32)
        self.position_weights = (config.position_decay**places).to(device)
        self.evidence_weights = (policy.evidence_decay**places).to(device)

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logarithm of the evidence for each item."""
        lists, _, neighbours, evidence = self._recall(self._sources(context))
        num_queries, num_items = len(context.user_rows), candidates.num_items
        if candidates.is_table_cheaper(self.config.num_recent * self.config.num_slots):
            table = torch.zeros((num_queries, num_items), device=self.device)
            add_at(table, lists, neighbours.clamp_(min=0), evidence)
            worth = self.policy.target_worth(self.counts[:num_items] / self.scale.value)
            return Scores(num_queries, dense=table.mul_(worth).add_(self.policy.smoothing).log_())
        at, slots = torch.nonzero(evidence, as_tuple=True)  # an empty slot has none
        items, evidence = neighbours[at, slots].long(), evidence[at, slots]
        cells = Cells.summed(lists[at], items, evidence, num_items).mapped(self._logarithm)
        return Scores(num_queries, constant(math.log(self.policy.smoothing), num_items, self.device), cells)

    def reasons(self, context: Context, item_rows: Tensor) -> Tensor:
        """Return the history item that contributes most to each listed item, or ``NO_ROW``.

        Args:
            item_rows: ``[R, K]`` int64, ``NO_ROW`` where the list is shorter.

        Returns:
            ``[R, K]`` int64; of equal contributions the newest item's counts.
        """
        sources = self.to(self._sources(context))
        lists, columns, neighbours, evidence = self._recall(self._sources(context))
        num_lists, k = item_rows.shape
        size = len(self.counts) + 1
        # Which place of the list each item has, by a table over the catalogue; the spare last column takes
        # NO_ROW of both sides.
        places = torch.full((num_lists, size), NO_ROW, dtype=torch.int16, device=self.device)
        numbers = torch.arange(k, dtype=torch.int16, device=self.device).expand(num_lists, k)
        places.scatter_(1, item_rows % size, numbers)
        places[:, -1] = NO_ROW
        spots = places.view(-1)[lists[:, None] * size + neighbours % size]
        found_at, slots = torch.nonzero(spots != NO_ROW, as_tuple=True)
        found = torch.zeros((num_lists, sources.shape[1], k), device=self.device)
        found[lists[found_at], columns[found_at], spots[found_at, slots].long()] = evidence[found_at, slots]
        best, column = found.max(dim=1)
        return sources.gather(1, column).masked_fill_(best <= 0, NO_ROW)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Add every event's weight to the pairs of its item and the earlier ones."""
        sources, targets, evidence = self._evidence(step)
        if len(sources):
            self._add(sources, targets, evidence)
        rows, weights = self.to(step.batch.item_rows), self.to(step.batch.weights)
        self.counts.index_add_(0, rows, weights.clamp(min=0.0) * self.scale.value)
        divisor = self.scale.advance(len(step.batch))
        if divisor != 1.0:
            self.weights.div_(divisor)
            self.counts.div_(divisor)
        return True

    def _logarithm(self, items: Tensor, evidence: Tensor) -> Tensor:
        worth = self.policy.target_worth(self.counts[items] / self.scale.value)
        return worth.mul_(evidence).add_(self.policy.smoothing).log_()

    def _sources(self, context: Context) -> Int64:
        return self.policy.sources(context.item_rows[:, : self.config.num_recent], context)

    def _recall(self, asked: Int64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what each of the items ``asked`` ``[R, N]`` is evidence for; n of them are not ``NO_ROW``.

        Returns:
            Row and column of each, ``[n]`` int64; its neighbours ``[n, S]`` int32; the evidence for them, ``[n, S]``.
        """
        sources = self.to(asked)
        lists, columns = torch.nonzero(sources != NO_ROW, as_tuple=True)
        rows = sources[lists, columns]
        worth = self.position_weights[columns]
        from_source = self.policy.source_worth(self.counts[rows] / self.scale.value)
        worth = (worth if from_source is None else worth * from_source) / self.scale.value
        return lists, columns, self.neighbours[rows], self.policy.sharpened(self.weights[rows].mul_(worth[:, None]))

    def _evidence(self, step: SubStep) -> tuple[Tensor, Tensor, Tensor]:
        """Return the different (source, target) pairs of the step, in order, and the evidence for each, ``[n]``."""
        sources = self.to(self.policy.earlier(self._sources(step.context), step))
        weights, targets = self.to(step.batch.weights), self.to(step.batch.item_rows)
        worth = weights[:, None] * self.evidence_weights[: sources.shape[1]]
        used = (sources != NO_ROW) & (worth != 0)
        sources, targets, worth = sources[used], targets[:, None].expand_as(sources)[used], worth[used]
        if self.policy.is_symmetric:
            sources, targets = torch.cat([sources, targets]), torch.cat([targets, sources])
            worth = torch.cat([worth, worth])
        different, inverse = torch.unique((sources << _KEY_BITS) | targets, return_inverse=True)
        evidence = torch.zeros(len(different), device=worth.device).index_add_(0, inverse, worth)
        return different >> _KEY_BITS, different & ((1 << _KEY_BITS) - 1), evidence * self.scale.value

    def _add(self, sources: Tensor, targets: Tensor, evidence: Tensor) -> None:
        slots = self._slots_of(sources, targets)
        is_held = slots != NO_ROW
        held_rows, held_slots = sources[is_held], slots[is_held].long()
        new_weights = self.weights[held_rows, held_slots] + evidence[is_held]
        self.weights[held_rows, held_slots] = new_weights.clamp_(min=0.0)
        is_new = ~is_held & (evidence > 0)
        if bool(is_new.any()):
            self._insert(sources[is_new], targets[is_new], evidence[is_new])

    def _slots_of(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Return in which slot of its source each target is, ``NO_ROW`` where in none: ``[n]`` int16.

        Args:
            sources: ``[n]`` int64, sorted.
            targets: ``[n]`` int64.
        """
        rows, groups = torch.unique_consecutive(sources, return_inverse=True)
        wanted, columns = torch.unique(targets, return_inverse=True)
        numbers = torch.full((len(self.counts) + 1,), NO_ROW, dtype=torch.int32, device=targets.device)
        numbers[wanted] = torch.arange(len(wanted), dtype=torch.int32, device=targets.device)
        found = numbers[self.neighbours[rows].long()]  # an empty slot asks for the last, which nobody wants
        at, slots = torch.nonzero(found != NO_ROW, as_tuple=True)
        places = torch.full((len(rows), len(wanted)), NO_ROW, dtype=torch.int16, device=targets.device)
        places[at, found[at, slots].long()] = slots.to(torch.int16)
        return places[groups, columns]

    def _insert(self, sources: Tensor, targets: Tensor, evidence: Tensor) -> None:
        """Give each new neighbour of a source a slot of its own, the strongest the emptiest.

        Where it takes over the evidence of the one before it, which it may have had itself before it was last pushed
        out, whatever comes often stays in the end. Else slots that are full of middling neighbours let nobody in.

        Source: Space-Saving, Metwally, Agrawal and El Abbadi, ICDT 2005.
        """
        # The bits of a number above 0 are in the order of the numbers.
        order = torch.argsort((sources << _KEY_BITS) - evidence.view(torch.int32), stable=True)
        sources, targets, evidence = sources[order], targets[order], evidence[order]
        different, groups, counts = torch.unique_consecutive(sources, return_inverse=True, return_counts=True)
        ordinals = torch.arange(len(sources), device=sources.device) - (counts.cumsum(0) - counts)[groups]
        num_slots = self.config.num_slots
        emptiest = self._emptiest(different, min(int(counts.max()), num_slots))
        fits = ordinals < num_slots
        sources, targets, evidence = sources[fits], targets[fits], evidence[fits]
        slots = emptiest[groups[fits], ordinals[fits]]
        held = self.weights[sources, slots]
        if self.policy.inherits:
            evidence = evidence + held
        else:
            wins = evidence >= held
            sources, slots, targets, evidence = sources[wins], slots[wins], targets[wins], evidence[wins]
        self.neighbours[sources, slots] = targets.to(torch.int32)
        self.weights[sources, slots] = evidence

    def _emptiest(self, sources: Tensor, num_wanted: int) -> Tensor:
        """Return the slots with the least evidence, least first and of equal ones the first: ``[n, num_wanted]``."""
        # The bits of a number that is not negative are in the order of the numbers; the slot below makes them differ.
        bits = self.weights[sources].view(torch.int32).long() << _SLOT_BITS
        keys = bits | torch.arange(bits.shape[1], device=bits.device)
        least = ~largest(~keys, num_wanted)
        return least & ((1 << _SLOT_BITS) - 1)


def norms(counts: Tensor) -> Tensor:
    """Return one over the square root of one more than ``counts``, in place."""
    return counts.add_(1.0).rsqrt_()
