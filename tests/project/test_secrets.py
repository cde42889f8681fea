"""A password is shown nowhere: not by a command, an error, a traceback, a log, a metric or a child's command line."""

import logging
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from millstream.local.guarded_process import GuardedProcess
from millstream.main import app
from stream.config.loading import load_config
from stream.config.settings import LogSettings, Settings
from stream.errors import MillstreamError
from stream.learning.decisive import config_hash, decisive_settings
from stream.log.kafka.client import client_options
from stream.log.kafka.topic_admin import topic_names
from stream.logs import configure_logs
from tests.contracts.test_transports import kafka_settings
from tests.support.workers import TOPICS

CANARY = "canary-Zq7"

LOGIN = {
    "MILLSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "MILLSTREAM_KAFKA_SASL_MECHANISM": "PLAIN",
    "MILLSTREAM_KAFKA_SASL_PLAIN_USERNAME": "ana",
    "MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD": CANARY,
    "MILLSTREAM_KAFKA_SSL_PASSWORD": CANARY,
    "MILLSTREAM_KAFKA_BOOTSTRAP_TIMEOUT_MS": "500",
}


def run(*arguments: str, **environment: str) -> str:
    """Return all that a command shows: its output, its error, and the traceback of that."""
    done = CliRunner().invoke(app, list(arguments), env={**LOGIN, **environment})
    shown = done.output + repr(done.exception)
    return shown + ("".join(traceback.format_exception(*done.exc_info)) if done.exc_info else "")


def test_the_canary_would_be_found() -> None:
    assert load_config(environ=LOGIN).settings.kafka.sasl_plain_password is not None
    assert client_options(load_config(environ=LOGIN).settings.kafka, "x")["sasl_plain_password"] == CANARY


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("config",),
        ("config", "--toml"),
        ("config", "--set", "batching.max_events=0"),
        ("config", "--set", f"kafka.sasl_plain_password={CANARY}"),
        ("topics", "list"),
        ("status",),
        ("doctor",),
        ("status", "--json"),
        ("dlq", "list"),
        ("subscribe", "--once"),
    ],
)
def test_no_command_shows_a_password_whether_it_works_or_not(command: tuple[str, ...]) -> None:
    shown = run(*command, MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", MILLSTREAM_METRICS_PORT="1")

    assert len(shown) > 20
    assert CANARY not in shown


@pytest.mark.broker
def test_a_login_that_works_is_not_shown_either(broker: Any) -> None:
    settings = kafka_settings(broker)
    names = {f"MILLSTREAM_TOPICS_{name.upper()}": getattr(settings.topics, name) for name in TOPICS}
    where = {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, **names}

    assert "created" in run("topics", "create", **where)
    for command in ("status", "doctor"):
        shown = run(command, MILLSTREAM_METRICS_PORT="1", **where)
        assert "brokers" in shown or "lag" in shown
        assert CANARY not in shown


def test_settings_show_no_password_however_they_are_printed() -> None:
    loaded = load_config(environ=LOGIN)
    settings = loaded.settings

    for shown in (
        repr(loaded),
        str(settings),
        settings.model_dump_json(),
        repr(settings.kafka),
        f"{settings.model_dump()}",
    ):
        assert CANARY not in shown
    assert CANARY not in str(decisive_settings(settings)) + config_hash(settings)


def test_logs_hold_no_password_at_their_most_talkative(capsys: pytest.CaptureFixture[str]) -> None:
    root, ours, client = logging.getLogger(), logging.getLogger("millstream"), logging.getLogger("kafka")
    before = root.handlers[:], root.level, ours.level, client.level
    try:
        configure_logs(LogSettings(level="DEBUG"))
        root.setLevel(logging.DEBUG)
        client.setLevel(logging.DEBUG)
        kafka = load_config(flags={"kafka.bootstrap_servers": "127.0.0.1:1"}, environ=LOGIN).settings.kafka
        with pytest.raises(MillstreamError) as caught:
            topic_names(kafka)
    finally:
        root.handlers[:] = before[0]
        for logger, level in ((root, before[1]), (ours, before[2]), (client, before[3])):
            logger.setLevel(level)
    written = capsys.readouterr().err
    assert "kafka" in written
    assert CANARY not in written + "".join(traceback.format_exception(caught.value))


def test_a_password_file_that_cannot_be_read_is_named_and_nothing_of_it_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(CANARY.encode() + b"\xff")
    given = {"sasl_plain_username": "ana", "sasl_plain_password_file": tmp_path / "password", "sasl_mechanism": "PLAIN"}
    settings = Settings.model_validate({"kafka": {**given, "security_protocol": "SASL_SSL"}})

    with pytest.raises(MillstreamError, match="expected a readable file") as caught:
        client_options(settings.kafka, "x")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_child_process_gets_a_password_by_its_environment_and_not_on_its_command_line() -> None:
    program = "import sys, time; sys.stdin.read(); time.sleep(60)"
    with GuardedProcess([sys.executable, "-c", program], env=LOGIN, grace_seconds=1.0) as child:
        listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(child.pid)], capture_output=True, check=True)

    assert listed.stdout
    assert CANARY.encode() not in listed.stdout
