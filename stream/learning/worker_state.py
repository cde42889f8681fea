"""Everything that is remembered from one micro-batch to the next, as one thing: it is saved, restored and hashed whole.

`WorkerState.read` and `WorkerState.learn` are the only way in. The live pipeline, recovery and verification all go
through them, so that what is re-learned is learned in the same way.
"""

import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from online_models import ConfigError as ModelConfigError
from online_models import (
    Effort,
    OnlineLearner,
    State,
    StateError,
    StepReport,
    TopK,
    cpu_facts,
    limit_cpu_threads,
)
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.ingest.decode import Decoded, Decoder
from stream.ingest.encode import Encoded, Encoder, TouchedUsers
from stream.learning.decisive import learner_config
from stream.learning.live_quality import LiveQuality
from stream.versions import VERSIONS
from stream.wire.decisions import Decisions
from stream.wire.fingerprint import add_hashes, hex_digits
from stream.wire.records import Record

__all__ = ["WorkerState", "counts_of", "environment", "make_learner"]


def make_learner(settings: Settings) -> OnlineLearner:
    """Return an untrained learner as the settings say."""
    try:
        limit_cpu_threads(settings.model.cpu_threads)
        return OnlineLearner(learner_config(settings), time.perf_counter)
    except ModelConfigError as error:
        raise ConfigError(f"model: {error}") from error


def environment(learner: OnlineLearner) -> dict[str, str]:
    """Return what the last bits of a float can depend on besides the settings: versions, device, threads."""
    names = ("millstream", "torch", "numpy", "river")
    machine = {"device": learner.device, "machine": platform.machine()} | cpu_facts()
    return {name: VERSIONS[name] for name in names} | machine


class WorkerState:
    """Id maps, de-duplication window, model, live quality and what was applied to them.

    Args:
        settings: all settings.
        partitions: all partitions of the events topic, 0 to P - 1.
        learner: an untrained model; made from the settings where None.

    Raises:
        RefusedToStart: the tables are too small for a batch.
        ConfigError: the model cannot be made here.
    """

    def __init__(self, settings: Settings, partitions: Sequence[int], learner: OnlineLearner | None = None) -> None:
        self._decoder = Decoder(settings.events)
        self.encoder = Encoder(settings, partitions)
        self.learner = make_learner(settings) if learner is None else learner
        self.quality = LiveQuality(settings.quality, settings.model.k)
        self.totals = Counter[str]()
        self._k = settings.model.k
        self._applied = 0

    @property
    def applied_hash(self) -> str:
        """Multiset hash of the records of all events that were learned, 16 hex digits."""
        return hex_digits(self._applied)

    def read(self, records: Sequence[Record], decisions: Decisions) -> tuple[Decoded, Encoded]:
        """Return the records as events and as arrays; new ids have rows and repetitions are known from here on."""
        decoded = self.decode(records, decisions)
        return decoded, self.encode(decoded, decisions)

    def decode(self, records: Sequence[Record], decisions: Decisions) -> Decoded:
        """Return the records as events; nothing changes."""
        return self._decoder.decode(records, decisions)

    def encode(self, decoded: Decoded, decisions: Decisions) -> Encoded:
        """Return the events as arrays; new ids have rows and repetitions are known from here on."""
        return self.encoder.encode(decoded, Effort(decisions.effort))

    def learn(self, decoded: Decoded, encoded: Encoded) -> StepReport:
        """Evaluate and learn the events; return what was measured."""
        step = self.learner.step(encoded.batch)
        self.quality.update(step)
        self._applied = add_hashes(self._applied, [encoded.records_hash])
        self.totals.update(counts_of(decoded, encoded, step))
        return step

    def rank(self, encoded: Encoded) -> tuple[TopK, TouchedUsers]:
        """Return fresh lists of the users of a batch that was just learned, and what each list knows."""
        rows = encoded.touched.rows
        return self.learner.rank(rows, self._k), encoded.touched.that_know(self.learner.newest_times_ms(rows))

    def state(self) -> State:
        """Return a copy of everything."""
        return {
            "applied": np.array([self._applied], np.uint64),
            "totals": dict(self.totals),
            "encoder": self.encoder.state(),
            "learner": self.learner.state(),
            "quality": self.quality.state(),
        }

    def load(self, state: State, *, with_quality: bool = True) -> None:
        """Take over a copy, into a state that has learned nothing yet.

        Args:
            state: what `state` returned, of a worker with the same settings.
            with_quality: False: the windows of the live quality begin anew.

        Raises:
            StateError: it was made with other settings or another number of partitions.
        """
        names = {"applied", "totals", "encoder", "learner", "quality"}
        if set(state) != names:
            raise StateError(f"state: expected the parts {sorted(names)}, got {sorted(state)}")
        self.encoder.load(_part(state, "encoder"))
        self.learner.load(_part(state, "learner"))
        if with_quality:
            self.quality.load(_part(state, "quality"))
        applied, totals = state["applied"], _part(state, "totals")
        if not isinstance(applied, np.ndarray) or applied.shape != (1,) or applied.dtype != np.uint64:
            raise StateError("state/applied: expected one number of 64 bits")
        self._applied = int(applied[0])
        self.totals = Counter({name: count for name, count in totals.items() if isinstance(count, int)})


def _part(state: State, name: str) -> State:
    part = state[name]
    if not isinstance(part, Mapping):
        raise StateError(f"state/{name}: expected parts, got {type(part).__name__}")
    return part


def counts_of(decoded: Decoded, encoded: Encoded, step: StepReport) -> dict[str, int]:
    """Return what became of the records of a batch, under the names of the journal's counts.

    Faults of senders are named where there are some.
    """
    counts = {
        "events": len(decoded.events),
        "learned": step.num_learned,
        "duplicates": encoded.num_duplicates,
        "late": step.num_late,
        "dead_letters": len(decoded.dead_letters),
    }
    faults = {"reused_ids": encoded.num_reused_ids, "split_users": encoded.num_split_users}
    return counts | {name: number for name, number in faults.items() if number}
