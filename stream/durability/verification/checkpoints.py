"""The checkpoints that are passed on the way, compared with the state that was learned again."""

from online_models import State, digest, flatten
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign, CheckpointStore, Manifest, name_of
from stream.durability.divergence import Difference
from stream.durability.verification.report import Parted
from stream.learning.worker_state import WorkerState, environment
from stream.wire.position import Moment
from stream.wire.schema import JournalEntry

__all__ = ["Checkpoints"]


class Checkpoints:
    """The checkpoints that are passed on the way."""

    def __init__(self, settings: Settings, store: CheckpointStore | None, remarks: list[str]) -> None:
        self._settings, self._store, self._remarks = settings, store, remarks
        self._names = set(store.names()) if store is not None else set()
        self._is_told: set[str] = set()

    def compare(self, epoch: int, entry: JournalEntry, state: WorkerState) -> int:
        """Return 1 if there is a checkpoint of `epoch` and of the model of `entry`, which then is equal; otherwise 0.

        Raises:
            Parted: it is not equal, or not whole.
        """
        name = name_of(epoch)
        if self._store is None or name not in self._names:
            return 0
        try:
            manifest = self._store.manifest(name)
            if not self._is_of(manifest.moment, entry):
                return 0
            saved = self._store.load(name)[1]
        except CheckpointForeign as error:
            self._remarks.append(f"checkpoint {name} was not compared: {error}")
            return 0
        except CheckpointDamaged as error:
            if name not in self._store.names():  # removed by the running worker, which keeps only the newest
                return 0
            raise Parted(Difference(epoch, f"checkpoint {name}", "a whole one", f"a damaged one ({error})")) from error
        self._compare_moment(name, manifest.moment, epoch, entry, state)
        now = state.state()
        if (expected := digest(now)) != manifest.digest:
            what = f"checkpoint {name}: {_first_different(now, saved)}: the digest of the state"
            raise Parted(Difference(epoch, what, expected, manifest.digest), self._environment_hint(manifest, state))
        return 1

    def _is_of(self, moment: Moment, entry: JournalEntry) -> bool:
        app = (self._settings.worker.transactional_id, self._settings.topics.events)
        life = (moment.origin, moment.settings_since, moment.config_hash)
        return (moment.app, moment.topic) == app and life == (entry.origin, entry.settings_since, entry.config_hash)

    def _compare_moment(self, name: str, moment: Moment, epoch: int, entry: JournalEntry, state: WorkerState) -> None:
        pairs: list[tuple[str, object, object]] = [("totals", dict(state.totals), moment.totals)]
        if epoch == entry.epoch:
            pairs += [("chain", entry.chain, moment.chain), ("positions", entry.positions, moment.positions)]
        for what, expected, found in pairs:
            if expected != found:
                raise Parted(Difference(epoch, f"checkpoint {name}: its {what}", str(expected), str(found)))

    def _environment_hint(self, manifest: Manifest, state: WorkerState) -> str:
        then, now = manifest.moment.environment, environment(state.learner)
        other = [f"{name} {then.get(name)}, here {now[name]}" for name in now if then.get(name) != now[name]]
        return f". It was computed with {'; '.join(other)}, which can change the last bits" if other else ""


def _first_different(expected: State, found: State) -> str:
    """Return the path of the first part that is not the same in two states."""
    ours, theirs = flatten(expected), flatten(found)
    for path in sorted({*ours, *theirs}):
        mine, other = ours.get(path), theirs.get(path)
        if mine is None or other is None or mine.dtype != other.dtype or mine.tobytes() != other.tobytes():
            return path
    return "nothing but its manifest"
