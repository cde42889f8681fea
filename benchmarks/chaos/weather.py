"""What happens around a worker: on the way to the broker, to its clock, and to the folder of its checkpoints."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tests.support.proxy import (
    ADD_PARTITIONS,
    END_TXN,
    FETCH,
    INIT_PRODUCER_ID,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Proxy,
    What,
)

__all__ = ["AGAIN", "KINDS", "OF_FOLDER", "Trouble", "draw_weather", "touch_folder"]

Kind = Literal[
    "delay",
    "code",
    "cut_before",
    "lose_answer",
    "repeat",
    "half_open",
    "clock",
    "lock_gone",
    "folder_gone",
    "folder_moved",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""delay: every answer is late. code: an answer says that it failed. cut_before, lose_answer, repeat, half_open: see
`tests.support.proxy.Fault`. clock: the worker's is another one. The others: of the checkpoints, lock or folder."""
OF_FOLDER: tuple[Kind, ...] = ("lock_gone", "folder_gone", "folder_moved")
IN_MEMORY: tuple[Kind, ...] = ("clock", *OF_FOLDER)
"""Where there is no way to a broker; errors at an instant of a transaction are drawn as faults there."""
ON_THE_WAY: tuple[Kind, ...] = get_args(What)
AGAIN = frozenset({6, 7, 8})
"""Exit codes after which a worker is started again: trouble on the way may end it with these, and with no other."""
CODES = (
    (END_TXN, 14),  # the coordinator is loading
    (END_TXN, 47),  # invalid producer epoch: it was rolled back, it says
    (END_TXN, 51),  # concurrent transactions
    (PRODUCE, 20),  # not enough replicas after it was appended
    (INIT_PRODUCER_ID, 14),
    (INIT_PRODUCER_ID, 51),
)
REQUESTS = (FETCH, ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT, END_TXN)
TWICE = (FETCH, ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT)
"""A broker answers the end of a transaction that has ended with an error, which is not what is asked here."""
MOST_SKEW_SECONDS = 120.0
"""A clock that is further behind ends a worker (`worker.max_clock_behind_seconds`)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to one worker, besides its fault."""

    kind: Kind
    api_key: int = 0
    """Of the requests that it is about."""
    skip: int = 0
    """So many of them pass before; or batches, of what happens to the folder in memory."""
    code: int = 0
    seconds: float = 0.0

    def begin(self, proxy: Proxy) -> Callable[[], bool]:
        """Have it happen, if it is on the way; return what says whether it did."""
        if self.kind == "delay":
            proxy.delay_seconds = self.seconds
        elif self.kind == "code":
            codes = proxy.codes[self.api_key]
            codes.append(self.code)
            return lambda: not codes
        elif self.kind in ON_THE_WAY:
            return proxy.inject(self.api_key, self.kind, skip=self.skip).came.is_set  # type: ignore[arg-type]  # mypy sees no subset
        return lambda: self.kind not in OF_FOLDER  # which is told when it is touched


def draw_weather(seed: int, num_workers: int, *, in_memory: bool) -> tuple[tuple[Trouble, ...], ...]:
    """Return what happens around each of the workers of a run; half of the runs have fair weather."""
    rng = random.Random(f"weather/{in_memory}/{seed}")
    if rng.random() < 0.5:
        return ()
    kinds = IN_MEMORY if in_memory else KINDS
    return tuple(tuple(_draw(rng, rng.choice(kinds)) for _ in range(rng.randint(0, 2))) for _ in range(num_workers))


def _draw(rng: random.Random, kind: Kind) -> Trouble:
    skip = rng.randint(0, 3)
    if kind == "delay":
        return Trouble(kind, seconds=rng.choice((0.01, 0.05, 0.15)))
    if kind == "clock":
        return Trouble(kind, seconds=rng.uniform(-MOST_SKEW_SECONDS, MOST_SKEW_SECONDS))
    if kind == "code":
        api_key, code = rng.choice(CODES)
        return Trouble(kind, api_key, code=code)
    if kind in ON_THE_WAY:
        return Trouble(kind, rng.choice(TWICE if kind == "repeat" else REQUESTS), skip)
    return Trouble(kind, skip=skip)


def touch_folder(kind: Kind, folder: Path) -> bool:
    """Remove or move the folder of the checkpoints or its lock; return False when there is none yet."""
    if not (folder / "lock.json").exists():
        return False
    if kind == "lock_gone":
        (folder / "lock.json").unlink(missing_ok=True)
    elif kind == "folder_gone":
        shutil.rmtree(folder, ignore_errors=True)
    elif kind == "folder_moved":
        folder.rename(folder.with_name(f"{folder.name}-moved-{len(list(folder.parent.iterdir()))}"))
    return True
