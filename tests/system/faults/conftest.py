"""What the fault tests share: topics of three partitions, and workers that are ended with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.config.settings import Settings
from stream.log.kafka import ensure_topics
from tests.contracts.test_transports import kafka_settings
from tests.support.forked import Forked
from tests.support.workers import WorkerProcess

Start = Callable[..., WorkerProcess]


def three_partitions(broker: Any) -> Settings:
    """Return settings with names of their own, and make the topics."""
    settings = kafka_settings(broker)
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
    ensure_topics(settings)
    return settings


@pytest.fixture
def settings(broker: Any) -> Settings:
    return three_partitions(broker)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """Start a worker with settings of its own; its log is in the test's folder, its checkpoints too."""
    started: list[WorkerProcess] = []

    def launch(settings: Settings, *flags: str, **overrides: Any) -> WorkerProcess:
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(WorkerProcess(settings, log, *flags, start_process=Forked, **overrides))
        return started[-1]

    yield launch
    for worker in started:
        worker.end()
