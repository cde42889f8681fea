"""Small streams for the tests of the learner."""

import numpy as np

from online_models import Batch, FactorizationConfig, LearnerConfig, SequenceConfig, StepReport, TransitionsConfig
from online_models.learner import OnlineLearner

NONE = np.empty(0, np.int64)


def events(
    users: list[int],
    items: list[int],
    times_ms: list[int] | None = None,
    weights: list[float] | None = None,
    *,
    owns: bool = False,
    reset_users: list[int] | None = None,
    reset_items: list[int] | None = None,
) -> Batch:
    """Return a batch; by default one event a second, each worth 1, nothing owned."""
    size = len(users)
    return Batch(
        user_rows=np.array(users, np.int64),
        item_rows=np.array(items, np.int64),
        event_types=np.zeros(size, np.int8),
        times_ms=np.array(times_ms if times_ms is not None else range(0, 1000 * size, 1000), np.int64),
        weights=np.array(weights if weights is not None else [1.0] * size, np.float32),
        owns=np.full(size, owns),
        reset_user_rows=np.array(reset_users or [], np.int64),
        reset_item_rows=np.array(reset_items or [], np.int64),
    )


def small_config(scorer: str = "sequence", **changes: object) -> LearnerConfig:
    """Return settings of a learner that steps in a millisecond."""
    settings: dict[str, object] = {
        "scorer": scorer,
        "device": "cpu",
        "k": 3,
        "sub_step_events": 16,
        "history_length": 8,
        "sequence": SequenceConfig(width=16, state_width=16, replay_windows=4, replay_targets=4, replay_context=4),
        "transitions": TransitionsConfig(num_slots=16),
        "successors": TransitionsConfig(num_recent=1, num_slots=16),
        "mf": FactorizationConfig(width=8, num_negatives=8),
    }
    return LearnerConfig(**{**settings, **changes})  # type: ignore[arg-type]


def cycle(num_events: int, *, num_users: int = 8, num_items: int = 24, seed: int = 0) -> Batch:
    """Return a stream in which every user walks round the same circle of items, users in random order."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, num_users, num_events)
    steps = np.zeros(num_users, np.int64)
    items = []
    for user in users.tolist():
        items.append(int(3 * user + steps[user]) % num_items)
        steps[user] += 1
    return events(users.tolist(), items)


def run(learner: OnlineLearner, stream: Batch, batch_size: int) -> list[StepReport]:
    """Teach the whole stream in batches."""
    return [learner.step(stream.part(start, start + batch_size)) for start in range(0, len(stream), batch_size)]
