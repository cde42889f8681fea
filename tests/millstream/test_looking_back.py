"""The commands that only look, on a real stream and beside a running worker: inspect, verify, replay.

Each is typed once as a person would; the other times it is forked, to spare the seconds that the imports take.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.log.kafka import EventProducer, TopicReader, ensure_topics
from stream.wire.schema import Recommendation
from tests.contracts.test_transports import kafka_settings, read_all
from tests.support.forked import Forked, run_forked
from tests.support.workers import DEADLINE_SECONDS, TOPICS, WorkerProcess, num_read, produce, until

pytestmark = pytest.mark.broker

NUM_EVENTS = 600


class Looked:
    """A worker that learned `NUM_EVENTS`, was killed on the way and stopped, and the commands to look at it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder

    def start(self, name: str) -> WorkerProcess:
        overrides: dict[str, Any] = {"checkpoints.interval_seconds": 0.5}
        return WorkerProcess(self.settings, self.folder / f"{name}.log", start_process=Forked, **overrides)

    def typed(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a person would."""
        command = [sys.executable, "-m", "millstream", *self._arguments(*arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)

    def command(self, *arguments: str, **overrides: object) -> "subprocess.CompletedProcess[str]":
        return run_forked(self._arguments(*arguments, **overrides), DEADLINE_SECONDS)

    def _arguments(self, *arguments: str, **overrides: object) -> list[str]:
        topics = {f"topics.{name}": getattr(self.settings.topics, name) for name in TOPICS}
        chosen = {
            **topics,
            "kafka.bootstrap_servers": self.settings.kafka.bootstrap_servers,
            "worker.group_id": self.settings.worker.group_id,
            "worker.transactional_id": self.settings.worker.transactional_id,
            "batching.max_events": 40,
            "model.k": 5,
            "checkpoints.url": self.folder / "checkpoints",
            **overrides,
        }
        return [*arguments, *(word for name, value in chosen.items() for word in ("--set", f"{name}={value}"))]

    def names(self) -> list[str]:
        return CheckpointStore(str(self.folder / "checkpoints"), 1, read_only=True).names()

    def lists(self) -> list[Recommendation]:
        with TopicReader(self.settings.kafka, self.settings.topics.recommendations) as reader:
            return [msgspec.json.decode(record.value or b"", type=Recommendation) for record in read_all(reader)]


@pytest.fixture(scope="module")
def looked(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Looked:
    settings = kafka_settings(broker)
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
    ensure_topics(settings)
    looked = Looked(settings, tmp_path_factory.mktemp("looked"))
    produce(settings, 0, NUM_EVENTS // 2)
    first = looked.start("first")
    try:
        until(lambda: num_read(settings) == NUM_EVENTS // 2, first)
    finally:
        first.process.send_signal(signal.SIGKILL)
        first.end()
    produce(settings, NUM_EVENTS // 2, NUM_EVENTS)
    second = looked.start("second")
    try:
        until(lambda: num_read(settings) == NUM_EVENTS, second)
        second.process.send_signal(signal.SIGTERM)
        assert second.wait() == 0, second.text()
    finally:
        second.end()
    return looked


def test_a_stream_with_a_kill_verifies_as_equal(looked: Looked) -> None:
    done = looked.typed("verify")

    assert done.returncode == 0, done.stderr
    first, *facts = done.stdout.splitlines()
    assert first.startswith("equal: ")
    assert f" {NUM_EVENTS} records, {len(looked.names())} checkpoints, {len(looked.lists())} lists" in first
    assert "an untrained model after epoch 0" in done.stdout
    assert any(f"those of group {looked.settings.worker.group_id}" in line for line in facts)


def test_beside_a_running_worker_it_verifies_up_to_where_that_was(looked: Looked) -> None:
    worker = looked.start("beside")
    try:
        until(lambda: "worker_started" in worker.text(), worker)
        done = looked.command("verify")
        listed = looked.command("inspect")

        assert (done.returncode, listed.returncode) == (0, 0), done.stderr + listed.stderr
        assert worker.process.poll() is None, "the worker must not notice that it is looked at"
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.end()


def test_a_list_that_somebody_else_wrote_is_found(looked: Looked) -> None:
    newest = looked.lists()[-1]
    forged = looked.settings.topics.model_copy(update={"recommendations": f"{looked.settings.topics.events}.forged"})
    settings = looked.settings.model_copy(update={"topics": forged})
    ensure_topics(settings)
    with (
        TopicReader(looked.settings.kafka, looked.settings.topics.recommendations) as reader,
        EventProducer(settings.kafka, forged.recommendations) as producer,
    ):
        for record in read_all(reader):
            value = record.value or b""
            is_newest = json.loads(value)["user"] == newest.user and json.loads(value)["epoch"] == newest.epoch
            producer.send(record.key or b"", value.replace(b'"score":0.', b'"score":0.9', 1) if is_newest else value)

    done = looked.command("verify", **{"topics.recommendations": forged.recommendations})

    assert done.returncode == 10, done.stdout + done.stderr
    told = " ".join(done.stderr.split())
    assert f"epoch {newest.epoch}: list of user '{newest.user}'" in told
    assert "at place 1" in told


def test_the_settings_of_somebody_else_are_refused(looked: Looked) -> None:
    done = looked.command("verify", **{"model.seed": 7})

    assert done.returncode == 3
    assert "model.seed was 1 and is 7" in " ".join(done.stderr.split())


def test_checkpoints_are_listed_whole_or_damaged(looked: Looked, tmp_path: Path) -> None:
    shutil.copytree(looked.folder / "checkpoints", tmp_path / "checkpoints")
    looked = Looked(looked.settings, tmp_path)
    whole = looked.command("inspect", "--json")
    assert whole.returncode == 0, whole.stderr
    assert {row["state"] for row in json.loads(whole.stdout)["checkpoints"]} == {"whole"}
    newest = looked.names()[0]
    (file,) = (tmp_path / "checkpoints" / newest).glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)

    listed, quick, shown = (
        looked.command("inspect"),
        looked.command("inspect", "--no-verify"),
        looked.command("inspect", newest),
    )

    assert (listed.returncode, quick.returncode, shown.returncode) == (4, 0, 4)
    assert "damaged" in listed.stdout
    assert f"{newest}: " in listed.stdout
    assert "SHA-256" in shown.stderr
    assert "Traceback" not in shown.stderr + listed.stderr


def test_a_checkpoint_is_shown_by_epoch_name_and_path(looked: Looked) -> None:
    name = looked.names()[0]
    epoch = str(int(name.removeprefix("epoch-")))

    shown = [
        looked.command("inspect", text, "--json") for text in (epoch, name, str(looked.folder / "checkpoints" / name))
    ]

    values = [json.loads(one.stdout) for one in shown]
    assert [one.returncode for one in shown] == [0, 0, 0], [one.stderr for one in shown]
    assert values[0]["digest"] == values[1]["digest"] == values[2]["digest"]
    assert values[0]["moment"]["epoch"] == int(epoch)
    assert values[0]["holds"]["users"] == 97
    assert any(table["name"] == "learner/scorers/sequence/weights/items" for table in values[0]["tables"])
    text = looked.typed("inspect", epoch).stdout
    assert "(computed again, equal)" in text
    assert "learner/scorers/sequence: " in text


def test_looking_for_what_is_not_there_says_what_is(looked: Looked, tmp_path: Path) -> None:
    absent, odd = looked.command("inspect", "99999"), looked.command("inspect", "no/such/folder")
    nowhere = looked.command("inspect", **{"checkpoints.url": tmp_path / "nowhere"})

    assert (absent.returncode, odd.returncode, nowhere.returncode) == (4, 4, 4)
    assert "epochs there: " in absent.stderr
    assert not (tmp_path / "nowhere").exists()


def test_why_a_user_saw_a_list(looked: Looked, tmp_path: Path) -> None:
    seen = looked.lists()[-1]

    done = looked.command(
        "replay", "--until", str(seen.epoch), "--user", seen.user, "--json", "--out", str(tmp_path / "out")
    )

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["published"] == f"in epoch {seen.epoch}; what is in the topic is the same, byte for byte"
    assert [item["item"] for item in shown["user"]["items"]] == [item.item for item in seen.items]
    assert len(shown["user"]["history"]) > 0
    (written,) = CheckpointStore(str(tmp_path / "out"), 1, read_only=True).names()
    assert CheckpointStore(str(tmp_path / "out"), 1).manifest(written).digest == shown["digest"]
    inspected = looked.command("inspect", shown["written"], "--user", seen.user)
    assert f"user {seen.user} " in inspected.stdout, inspected.stderr
    text = looked.typed("replay", "--until", str(seen.epoch), "--user", seen.user).stdout
    assert "mostly because of" in text
    assert "byte for byte" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--until", "9999"), 4, "epoch 9999 is not in the journal, which holds epochs 1 to"),
        (("--until", "1", "--user", "nobody"), 4, "user 'nobody': not known at that moment"),
        (("--until", "1", "--out", "{checkpoints}"), 3, "expected a folder of its own"),
    ],
)
def test_a_moment_that_cannot_be_shown_says_why(
    looked: Looked, arguments: tuple[str, ...], code: int, words: str
) -> None:
    filled = [text.replace("{checkpoints}", str(looked.folder / "checkpoints")) for text in arguments]

    done = looked.command("replay", *filled)

    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", ["inspect", "verify", "replay"])
def test_every_command_explains_itself_without_loading_torch(command: str) -> None:
    program = (
        "import sys\nsys.argv = ['millstream', sys.argv[1], '--help']\nfrom millstream.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
