"""Promises of the guard and the embedded broker: they answer, they end, and they leave nothing behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from millstream.local import embedded_broker
from millstream.local.embedded_broker import EmbeddedBroker
from millstream.local.guarded_process import GuardedProcess
from stream.config.settings import KafkaSettings, Settings
from stream.errors import BrokerUnreachable, ConfigError
from stream.log.kafka import EventProducer, TopicReader, ensure_topics
from stream.wire.records import Record

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 10.0
ROOT = Path(__file__).resolve().parents[2]

needs_broker = pytest.mark.skipif(
    find_spec("noida_db") is None, reason="needs the embedded broker: pip install 'millstream[broker]'"
)


def eventually(holds: Callable[[], bool]) -> bool:
    """Return whether it holds before the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (true := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def is_gone(pid: int) -> bool:
    """Return whether no such process runs; one that ended and waits for its parent does not run."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")  # Linux only; elsewhere the first process reaps what has ended
    with contextlib.suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    return status.parent.parent.joinpath("self").exists()


def run_parent(code: str, num_pids: int) -> tuple["subprocess.Popen[str]", list[int]]:
    """Start a Python process that prints process numbers on one line and then waits; return it and the numbers."""
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "\nimport time; time.sleep(60)"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == num_pids
    return parent, pids


def settings_of(broker: EmbeddedBroker) -> Settings:
    return Settings(kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers))


def first_records(reader: TopicReader) -> list[Record]:
    """Return the first records that arrive before the deadline."""
    records: list[Record] = []
    eventually(lambda: bool(records.extend(reader.poll(0.1)) or records))
    return records


# The guard


GUARDED_SLEEP = """
from millstream.local.guarded_process import GuardedProcess
child = GuardedProcess(["sh", "-c", {script!r}], grace_seconds=0.5)
print(child.pid, child.guard_pid, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_guarded_process_ends_when_its_parent_is_killed(how: signal.Signals) -> None:
    parent, pids = run_parent(GUARDED_SLEEP.format(script="sleep 60"), 2)
    assert not any(is_gone(pid) for pid in pids)

    parent.send_signal(how)
    parent.wait()

    assert eventually(lambda: all(is_gone(pid) for pid in pids))


def test_a_guarded_process_that_will_not_hear_is_killed_after_the_grace() -> None:
    parent, pids = run_parent(GUARDED_SLEEP.format(script="trap '' TERM; while :; do sleep 0.1; done"), 2)

    parent.kill()
    parent.wait()

    assert eventually(lambda: all(is_gone(pid) for pid in pids))


def test_what_a_guarded_process_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    parent, pids = run_parent(GUARDED_SLEEP.format(script=f"sleep 60 & echo $! > {note}; wait"), 2)
    assert eventually(lambda: note.exists() and note.read_text().endswith("\n"))

    parent.kill()
    parent.wait()

    assert eventually(lambda: all(is_gone(pid) for pid in [*pids, int(note.read_text())]))


def test_the_guard_is_gone_once_the_process_has_ended_by_itself() -> None:
    child = GuardedProcess(["sh", "-c", "exit 7"])

    assert child.wait(DEADLINE_SECONDS) == 7
    assert is_gone(child.guard_pid)
    assert is_gone(child.pid)


def test_stopping_asks_first_and_gives_the_status() -> None:
    with GuardedProcess(["sleep", "60"]) as child:
        assert child.poll() is None
        assert child.stop() == -signal.SIGTERM
        assert child.poll() == -signal.SIGTERM
        assert is_gone(child.guard_pid)
        assert child.stop() == -signal.SIGTERM  # a second time changes nothing


def test_a_process_that_will_not_stop_is_killed_after_the_grace(tmp_path: Path) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    with (tmp_path / "log").open("wb") as log:
        child = GuardedProcess(["sh", "-c", script], stdout=log, grace_seconds=0.3)
    assert eventually(lambda: (tmp_path / "log").read_text() == "deaf\n")

    assert child.stop() == -signal.SIGKILL
    assert is_gone(child.pid)


def test_a_command_that_is_not_there_ends_with_status_127() -> None:
    assert GuardedProcess(["/no/such/program"]).wait(DEADLINE_SECONDS) == 127


def test_its_output_goes_where_it_was_sent(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = GuardedProcess(
            ["sh", "-c", "echo out; echo err >&2; cat"], stdout=log, env={"PATH": os.environ["PATH"]}
        )
        child.wait(DEADLINE_SECONDS)

    # Its standard input is empty: `cat` ended at once and not with us.
    assert (tmp_path / "log").read_text() == "out\nerr\n"


# The broker


@pytest.fixture
def fresh() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.mark.broker
@needs_broker
def test_a_started_broker_takes_and_gives_records(fresh: EmbeddedBroker) -> None:
    settings = settings_of(fresh)
    ensure_topics(settings)

    with EventProducer(settings.kafka, "events") as producer:
        producer.send(b"ana", b"hello")
        producer.flush()

    with TopicReader(settings.kafka, "events") as reader:
        assert [(record.key, record.value) for record in first_records(reader)] == [(b"ana", b"hello")]


@pytest.mark.broker
@needs_broker
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_broker_guard_and_folder_are_gone_seconds_after_the_parent_was_killed(
    how: signal.Signals, tmp_path: Path
) -> None:
    code = "from millstream.local.embedded_broker import EmbeddedBroker\nbroker = EmbeddedBroker()\nbroker.start()\n"
    code += f"import pathlib; pathlib.Path({str(tmp_path / 'folder')!r}).write_text(str(broker._temporary))\n"
    parent, pids = run_parent(code + "print(broker.pid, broker.guard_pid, flush=True)", 2)
    folder = Path((tmp_path / "folder").read_text())
    assert (folder / "broker.log").exists()

    parent.send_signal(how)
    parent.wait()

    assert eventually(lambda: all(is_gone(pid) for pid in pids))
    assert not folder.exists()


@pytest.mark.broker
@needs_broker
def test_stopping_leaves_no_process_no_port_and_no_temporary_folder() -> None:
    broker = EmbeddedBroker()
    broker.start()
    pids, port, folder = [broker.pid, broker.guard_pid], broker.port, broker._temporary
    assert folder is not None
    assert broker.is_running()

    broker.stop()

    assert not broker.is_running()
    assert all(is_gone(pid) for pid in pids)
    assert not folder.exists()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


@pytest.mark.broker
@needs_broker
def test_with_a_data_folder_records_outlive_an_orderly_stop(tmp_path: Path) -> None:
    with EmbeddedBroker(data_dir=tmp_path / "data") as broker:
        settings = settings_of(broker)
        ensure_topics(settings)
        with EventProducer(settings.kafka, "events") as producer:
            producer.send(b"ana", b"hello")
            producer.flush()

    with (
        EmbeddedBroker(data_dir=tmp_path / "data") as broker,
        TopicReader(settings_of(broker).kafka, "events") as reader,
    ):
        records = []
        assert eventually(lambda: bool(records.extend(reader.poll(0.1)) or records))
    assert [record.value for record in records] == [b"hello"]


@pytest.mark.broker
@needs_broker
def test_after_a_crash_the_same_folder_starts_again(tmp_path: Path) -> None:
    broker = EmbeddedBroker(data_dir=tmp_path)
    broker.start()
    broker.kill()

    with EmbeddedBroker(data_dir=tmp_path) as again:
        assert again.is_running()


@pytest.mark.broker
@needs_broker
def test_a_folder_in_use_is_named(fresh: EmbeddedBroker, tmp_path: Path) -> None:
    with EmbeddedBroker(data_dir=tmp_path), pytest.raises(ConfigError, match="is in use by another embedded broker"):
        EmbeddedBroker(data_dir=tmp_path).start()


@pytest.mark.broker
@needs_broker
def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken: choose another one with --port"):
            EmbeddedBroker(port).start()


@pytest.mark.broker
@needs_broker
def test_a_free_port_lost_to_somebody_faster_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as faster, socket.socket() as free:
        faster.bind(("127.0.0.1", 0))
        faster.listen()
        free.bind(("127.0.0.1", 0))
        ports = iter([faster.getsockname()[1], free.getsockname()[1]])
        free.close()
        monkeypatch.setattr(embedded_broker, "free_port", lambda: next(ports))
        # The port looks free until the broker itself tries to have it.
        monkeypatch.setattr(embedded_broker, "_is_taken", lambda port: False)

        with EmbeddedBroker() as broker:
            assert broker.port != faster.getsockname()[1]


@pytest.mark.broker
@needs_broker
def test_a_broker_that_ends_at_once_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "noida-db"
    broken.write_text("#!/bin/sh\necho 'error: no memory left'\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(embedded_broker, "_binary", lambda: broken)

    with pytest.raises(BrokerUnreachable, match="ended with status 3: error: no memory left"):
        EmbeddedBroker().start()


def test_a_broker_that_never_answers_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = tmp_path / "noida-db"
    silent.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(embedded_broker, "_binary", lambda: silent)
    monkeypatch.setattr(embedded_broker, "START_DEADLINE_SECONDS", 0.5)

    with pytest.raises(BrokerUnreachable, match=r"did not answer on 127.0.0.1:\d+ within 0.5 s"):
        EmbeddedBroker().start()
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_without_the_package_the_message_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_broker, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'millstream\[broker\]'"):
        EmbeddedBroker().start()


def test_a_listener_that_does_not_speak_kafka_is_no_answer() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()

        assert not embedded_broker._answers(listener.getsockname()[1])
