"""What one run is: its settings, its events and its faults, all drawn from one number."""

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.chaos.weather import Trouble, draw_weather
from stream.config.settings import Settings
from stream.failpoints import INSTANTS

__all__ = ["Action", "Fault", "Plan", "draw_plan", "seed_of_run"]

Action = Literal["kill", "stop", "term", "error", "fence"]
"""kill: the process is gone. stop: it stands still, is replaced, and goes on. term: asked to end. In memory there are
also error: an ordinary exception at that instant, and fence: another worker takes over there, works, and leaves."""

RECOVERY = INSTANTS[: INSTANTS.index("recovered") + 1]
CHECKPOINT = INSTANTS[INSTANTS.index("state_copied") :]
BATCH = INSTANTS[len(RECOVERY) : -len(CHECKPOINT)]
TRANSACTION = BATCH[BATCH.index("transaction_begun") :]
NEVER_SECONDS = 3_000.0
STRICT_DELAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one worker."""

    instant: str
    occurrence: int
    """The how manieth time that this worker meets the instant, from 1."""
    action: Action = "kill"
    is_late: bool = False
    """stop: it goes on only when its heir has ended, and not as soon as that one has taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    num_partitions: int = 1
    num_events: int = 200
    num_users: int = 40
    num_items: int = 150
    skew_ratio: float = 0.0
    """Share of the users that are moved to partition 0, so that its rows run out."""
    is_strict: bool = False
    """All events are there before the first worker, and every batch is full: the boundaries are known beforehand."""
    has_markers: bool = False
    """The events come in transactions, some of which are aborted."""
    bad_ratio: float = 0.04
    repeated_ratio: float = 0.08
    late_ratio: float = 0.05
    future_ratio: float = 0.0
    """Events near the limit of what is too far in the future."""
    batch_events: int = 20
    max_delay_seconds: float = 0.02
    dedup_window: int = 1_000
    interval_seconds: float = 0.02
    keep: int = 2
    scorer: str = "sequence"
    model: tuple[tuple[str, int], ...] = (("k", 5), ("sub_step_events", 8), ("history_length", 10))
    effort: Literal["normal", "auto"] = "normal"
    """auto: by the lag, which another run over the same events does not have at the same batches."""
    quality_events: int = 50
    faults: tuple[Fault, ...] = ()
    weather: tuple[tuple[Trouble, ...], ...] = ()
    """What happens around the worker of each fault; the last worker has none."""

    def settings(self, name: str, bootstrap_servers: str, checkpoints: str) -> Settings:
        """Return the settings of its workers.

        Args:
            name: begins the names of topics, group and transactional id.
            bootstrap_servers: where the broker is.
            checkpoints: the folder of the checkpoints.
        """
        topics = {topic: f"{name}.{topic}" for topic in ("events", "items", "recommendations", "dead_letters")}
        tree: dict[str, dict[str, Any]] = {
            "kafka": {"bootstrap_servers": bootstrap_servers},
            "topics": {**topics, "journal": f"{name}.journal", "partitions": self.num_partitions},
            "worker": {"group_id": name, "transactional_id": f"{name}-0"},
            "checkpoints": {"url": checkpoints, "interval_seconds": self.interval_seconds, "keep": self.keep},
            "batching": {"max_events": self.batch_events, "max_delay_seconds": self.max_delay_seconds},
            "events": {"dedup_window": self.dedup_window},
            "model": {
                "scorer": self.scorer,
                "user_capacity": 1_000,
                "item_capacity": 100,
                "device": "cpu",
                "seed": self.seed % 2**31,
                "effort": self.effort,
                **dict(self.model),
            },
            "quality": {"window_events": self.quality_events},
            "metrics": {"port": 0},
            "log": {"level": "INFO"},
        }
        return Settings.model_validate(tree)


def seed_of_run(seed: int, number: int) -> int:
    """Return the seed of run `number` of a series: that of the first is the seed of the series itself."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=6).digest(), "big")


def draw_plan(seed: int, *, in_memory: bool = False) -> Plan:
    """Return the run of a seed."""
    rng = random.Random(f"plan/{in_memory}/{seed}")
    is_strict = rng.random() < 0.35
    batch_events = rng.randint(10, 40)
    is_wide = not in_memory and rng.random() < 0.05  # more users than rows
    num_batches = 36 if is_wide else rng.randint(5, 10)
    if in_memory and rng.random() < 0.9:  # the others are long enough for items to be evicted
        batch_events, num_batches = rng.randint(10, 16), rng.randint(2, 5)
    num_events = batch_events * num_batches + (0 if is_strict else rng.randrange(batch_events))
    sub_step_events = 32 if in_memory else rng.choice((8, 16, 32))
    model = {"k": rng.choice((1, 5, 10)), "sub_step_events": sub_step_events, "history_length": 10}
    scorers = ("popularity", "transitions", "mf")
    model |= _draw_hygiene(random.Random(f"hygiene/{seed}"))
    plan = Plan(
        seed=seed,
        num_partitions=1 if is_strict else rng.randint(1, 3),
        num_events=num_events,
        num_users=num_events if is_wide else rng.randint(10, 90),
        num_items=rng.choice((30, 130, 180)),
        skew_ratio=rng.choice((0.0, 0.5, 0.9)),
        is_strict=is_strict,
        has_markers=not is_strict and not in_memory and rng.random() < 0.3,
        bad_ratio=rng.choice((0.0, 0.05, 0.2)),
        repeated_ratio=rng.choice((0.0, 0.1, 0.3)),
        late_ratio=rng.choice((0.0, 0.05, 0.3)),
        future_ratio=0.0 if is_strict else rng.choice((0.0, 0.1)),
        batch_events=batch_events,
        max_delay_seconds=STRICT_DELAY_SECONDS if is_strict else rng.choice((0.002, 0.02, 0.05)),
        dedup_window=rng.choice((0, 5, 50, 1_000)),
        interval_seconds=rng.choice((0.001, 0.05, 0.3, NEVER_SECONDS, NEVER_SECONDS)),
        keep=rng.randint(1, 3),
        scorer="sequence" if rng.random() < (0.02 if in_memory else 0.2) else rng.choice(scorers),
        model=tuple(model.items()),
        effort="normal" if is_strict else "auto",
        quality_events=rng.choice((10, 50, 5_000)),
        faults=tuple(_draw_faults(rng, num_batches, in_memory=in_memory)),
    )
    return replace(plan, weather=draw_weather(seed, len(plan.faults), in_memory=in_memory))


def _draw_hygiene(rng: random.Random) -> dict[str, int]:
    """Return when items are admitted and when items and users expire; the events are a second apart."""
    return {
        "item_admission_events": rng.choice((1, 1, 2, 3)),
        "item_ttl_seconds": rng.choice((0, 30, 120)),
        "item_floor": rng.choice((0, 10)),
        "user_ttl_seconds": rng.choice((0, 30, 120)),
    }


def _draw_faults(rng: random.Random, num_batches: int, *, in_memory: bool) -> list[Fault]:
    faults: list[Fault] = []
    num_faults = rng.randint(1, 5)
    while len(faults) < num_faults:
        kind = rng.choices((BATCH, CHECKPOINT, RECOVERY), (5, 3, 3 if faults else 1))[0]
        most = 2 if kind is not BATCH else max(2, num_batches // num_faults)
        faults.append(_draw_fault(rng, kind, most, in_memory=in_memory))
        if kind is RECOVERY and rng.random() < 0.5:  # two in a row before the worker is there
            faults.append(_draw_fault(rng, kind, 1, in_memory=in_memory))
    return faults[:5]


def _draw_fault(rng: random.Random, kind: tuple[str, ...], most: int, *, in_memory: bool) -> Fault:
    instant = rng.choice(kind)
    others: tuple[Action, ...] = ("error", "fence") if in_memory else ("stop", "term")
    action: Action = rng.choices(("kill", *others), (6, 2, 1) if not in_memory else (5, 3, 2))[0]
    if instant in ("taken_over", "checkpoint_loaded", "recovered"):
        most = 1  # once in the life of a worker
    return Fault(instant, rng.randint(1, most), action, is_late=rng.random() < 0.3)
