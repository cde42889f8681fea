"""What followed what: a decayed, directed, sparse memory from each item to the items taken after it.

Every item remembers a fixed number of neighbours in slots; the one with the least evidence makes room for a new one.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.config import TransitionsConfig
from online_models.tables.decay import DecayingScale
from online_models.tables.growing import add_at, allocated_rows, grow_table
from online_models.tables.select import largest
from online_models.tables.state_reader import Parts, Table, are_finite, copies
from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["Transitions"]

Int64 = npt.NDArray[np.int64]
_KEY_BITS = 32
_SLOT_BITS = 12
_BLOCK_ROWS = 4096


class Transitions:
    """Scores items by what followed the newest items of the history.

    Source: directed item-to-item co-occurrence with position decay, after Linden, Smith and York, IEEE
    Internet Computing 2003, and sequential rules, Ludewig and Jannach, UMUAI 2018. Here counts fade with
    the number of events and the memory is bounded per item.
    """

    smoothing = 0.01
    """Evidence that every item is taken to have: what was never seen to follow is unlikely, not impossible."""
    inherits = True
    """Whether a new neighbour takes over the evidence of the one whose place it takes; else it must bring as much."""

    def __init__(self, name: str, config: TransitionsConfig, device: torch.device) -> None:
        self.name = name
        self.config = config
        self.scale = DecayingScale(self.config.half_life_events)
        num_slots = self.config.num_slots
        self.neighbours = torch.full((0, num_slots), NO_ROW, dtype=torch.int32, device=device)
        self.weights = torch.zeros((0, num_slots), device=device)
        self.counts = torch.zeros(0, device=device)  # evidence per target, in the unit of the weights
        powers = self.config.position_decay ** torch.arange(self.config.num_recent, dtype=torch.float32)
        self.position_weights = powers.to(device)
        self.evidence_weights = self.position_weights
        self.num_used = 0

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for items up to row ``num_items - 1``."""
        self.num_used = max(self.num_used, num_items)
        size = allocated_rows(num_items, len(self.counts))
        if size > len(self.counts):
            self.neighbours = grow_table(self.neighbours, size, NO_ROW)
            self.weights = grow_table(self.weights, size)
            self.counts = grow_table(self.counts, size)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Empty the slots of these items and every slot of others that names them."""
        if not len(item_rows):
            return
        rows = torch.from_numpy(item_rows).to(self.counts.device)
        self.neighbours[rows], self.weights[rows], self.counts[rows] = NO_ROW, 0.0, 0.0
        gone = torch.zeros(len(self.counts) + 1, dtype=torch.bool, device=rows.device)
        gone[rows] = True  # the last place is False: NO_ROW points there
        for start in range(0, self.num_used, _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, self.num_used))
            hit = gone[self.neighbours[block].long()]
            self.neighbours[block].masked_fill_(hit, NO_ROW)
            self.weights[block].masked_fill_(hit, 0.0)

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logarithm of the evidence that each item comes next: ``[R, num_items]``."""
        lists, _, neighbours, evidence = self._recall(self._sources(context))
        scores = torch.zeros((len(context.user_rows), num_items), device=evidence.device)
        add_at(scores, lists, neighbours.clamp_(min=0), evidence)
        return scores.mul_(self._target_worth(num_items)).add_(self.smoothing).log_()

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]``."""
        return self.score(step.context, num_items)

    def reasons(self, context: Context, item_rows: Tensor) -> Tensor:
        """Return the history item that contributes most to each listed item, or ``NO_ROW``.

        Args:
            item_rows: ``[R, K]`` int64, ``NO_ROW`` where the list is shorter.

        Returns:
            ``[R, K]`` int64; of equal contributions the newest item's counts.
        """
        sources = self._sources(context)
        lists, columns, neighbours, evidence = self._recall(sources)
        num_lists, k = item_rows.shape
        size = len(self.counts) + 1
        # Which place of the list each item has, by a table over the catalogue; the spare last column takes
        # NO_ROW of both sides.
        places = torch.full((num_lists, size), NO_ROW, dtype=torch.int16, device=evidence.device)
        numbers = torch.arange(k, dtype=torch.int16, device=evidence.device).expand(num_lists, k)
        places.scatter_(1, item_rows % size, numbers)
        places[:, -1] = NO_ROW
        spots = places.view(-1)[lists[:, None] * size + neighbours % size]
        found_at, slots = torch.nonzero(spots != NO_ROW, as_tuple=True)
        found = torch.zeros((num_lists, sources.shape[1], k), device=evidence.device)
        found[lists[found_at], columns[found_at], spots[found_at, slots].long()] = evidence[found_at, slots]
        best, column = found.max(dim=1)
        return sources.gather(1, column).masked_fill_(best <= 0, NO_ROW)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Add every event's weight to the transitions from its recent items to its own."""
        sources, targets, evidence = self._evidence(step)
        if len(sources):
            self._add(sources, targets, evidence)
        rows = torch.from_numpy(step.batch.item_rows).to(self.counts.device)
        weights = torch.from_numpy(step.batch.weights).to(self.counts.device)
        self.counts.index_add_(0, rows, weights.clamp(min=0.0) * self.scale.value)
        divisor = self.scale.advance(len(step.batch))
        if divisor != 1.0:
            self.weights.div_(divisor)
            self.counts.div_(divisor)
        return True

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {**copies(self._tables()), "scale": self.scale.state()}

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many items and slots; raises StateError when it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "scale"])
        parts.fill(tables)
        parts.give("scale", self.scale)

    def is_finite(self) -> bool:
        """Return whether no evidence is NaN or infinite."""
        return are_finite(self._tables().values())

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {f"{self.name}.items": (self.num_used, len(self.counts))}

    def _tables(self) -> dict[str, Table]:
        used = slice(self.num_used)
        return {"neighbours": self.neighbours[used], "weights": self.weights[used], "counts": self.counts[used]}

    def _sources(self, context: Context) -> Tensor:
        rows = context.item_rows[:, : self.config.num_recent]
        return torch.from_numpy(rows).to(self.counts.device)

    def _earlier(self, step: SubStep) -> Tensor:
        """Return the items that each event is evidence of following: ``[B, n]``."""
        return self._sources(step.context)

    def _recall(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what each of the ``sources`` ``[R, N]`` is evidence for; n of them are not ``NO_ROW``.

        Returns:
            Row and column of each, ``[n]`` int64; its neighbours ``[n, S]`` int32; the evidence for them, ``[n, S]``.
        """
        lists, columns = torch.nonzero(sources != NO_ROW, as_tuple=True)
        rows = sources[lists, columns]
        worth = self.position_weights[columns] * self._source_worth(rows) / self.scale.value
        return lists, columns, self.neighbours[rows], self.weights[rows].mul_(worth[:, None])

    def _source_worth(self, sources: Tensor) -> Tensor:
        """Return what evidence from these items is worth, besides their position: ``[n]``."""
        return torch.ones_like(sources, dtype=torch.float32)

    def _target_worth(self, num_items: int) -> Tensor:
        """Return what evidence for each item is worth: ``[num_items]``."""
        return (self.counts[:num_items] / self.scale.value).clamp_(min=1.0).pow_(-self.config.popularity_power)

    def _pairs(self, sources: Tensor, targets: Tensor, worth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which item is evidence for which, ``[n]`` each, from (earlier, later) pairs."""
        return sources, targets, worth

    def _evidence(self, step: SubStep) -> tuple[Tensor, Tensor, Tensor]:
        """Return the different (source, target) pairs of the step, in order, and the evidence for each."""
        sources = self._earlier(step)
        weights = torch.from_numpy(step.batch.weights).to(sources.device)
        targets = torch.from_numpy(step.batch.item_rows).to(sources.device)
        worth = weights[:, None] * self.evidence_weights[: sources.shape[1]]
        used = (sources != NO_ROW) & (worth != 0)
        sources, targets, worth = self._pairs(sources[used], targets[:, None].expand_as(sources)[used], worth[used])
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
        if self.inherits:
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
