"""What a run that nothing ever disturbed would have learned, and whether a disturbed one has learned the same."""

from contextlib import closing
from pathlib import Path

from online_models import digest
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.durability.relearn import relearn
from stream.learning.decisive import config_hash
from stream.learning.worker_state import WorkerState
from stream.log.kafka import KafkaHistory
from stream.publish import Publisher
from tests.support.workers import assert_every_event_is_accounted_for_once


def assert_as_if_undisturbed(settings: Settings, checkpoints: Path, num_events: int) -> None:
    """Expect every event once, every list as an undisturbed worker makes it, and its state in the newest checkpoint.

    Args:
        settings: names of topics and the brokers.
        checkpoints: the worker's folder, after a clean stop.
        num_events: how many were produced.
    """
    assert_every_event_is_accounted_for_once(settings, num_events)
    used = Settings.model_validate({"kafka": settings.kafka, "topics": settings.topics, "model": {"k": 5}})
    store = CheckpointStore(str(checkpoints), 3)
    newest = store.manifest(store.names()[0])
    with closing(KafkaHistory(used)) as history:
        state = WorkerState(used, history.partitions)
        publisher = Publisher(used, used.topics.max_message_bytes)
        entries = list(history.entries(1))
        for entry in entries:
            assert entry.config_hash == config_hash(used)
            difference, _ = relearn(state, entry, history.records(entry), publisher)
            assert not difference, difference
    assert newest.moment.epoch == entries[-1].epoch
    assert newest.digest == digest(state.state())
