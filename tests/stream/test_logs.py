"""Logs are one line an event, whatever text comes from outside."""

import json
import logging
from collections.abc import Iterator

import pytest

from stream.config.settings import LogSettings
from stream.logs import configure_logs, log_event


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("millstream")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]


def test_a_text_line_holds_the_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings())

    log_event(logging.INFO, "batch_committed", epoch=7, seconds=0.123456, topic="a b\nc")

    (line,) = capsys.readouterr().err.splitlines()
    assert line[9:] == 'INFO    batch_committed epoch=7 seconds=0.1235 topic="a b\\nc"'


def test_a_json_line_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(format="json"))

    log_event(logging.WARNING, "model_starts_cold", hint="go\non", epoch=7)

    (line,) = capsys.readouterr().err.splitlines()
    read = json.loads(line)
    assert {name: read[name] for name in ("level", "event", "hint", "epoch")} == {
        "level": "WARNING",
        "event": "model_starts_cold",
        "hint": "go\non",
        "epoch": 7,
    }


def test_a_library_that_says_the_same_over_and_over_is_heard_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings())

    for number in range(50):
        logging.getLogger("kafka.net").warning("no connection, attempt %d", number)
        log_event(logging.INFO, "ours", number=number)

    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "no connection" in line]) == 1
    assert len([line for line in lines if "ours" in line]) == 50


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(level="WARNING"))

    log_event(logging.INFO, "quiet")

    assert capsys.readouterr().err == ""


EVIL = "x\n23:59:59 ERROR   forged a=1\r\x1b[2J\u2028\x85\u202e\x7f\x00 epoch=9"


def show_evil() -> None:
    log_event(logging.WARNING, "seen", user=EVIL, plain="a=b", quote='"')
    logging.getLogger("kafka").warning("library says %s", EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("kafka").exception("failed")


def test_an_id_from_outside_can_forge_no_line_no_field_and_no_terminal_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(LogSettings())

    show_evil()

    written = capsys.readouterr().err
    lines = written.split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("23:59:59") for line in lines)
    events = [line for line in lines if line and not line.startswith("    ")]
    assert [line.split()[2] for line in events] == ["seen", "library", "failed"]
    assert events[0].count(' user="') == 1
    assert ' plain="a=b" ' in events[0], "a value is quoted where it could pass for a field"


def test_a_json_line_stays_one_line_and_gives_the_id_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(format="json"))

    show_evil()

    lines = capsys.readouterr().err.split("\n")[:-1]
    assert all(line.isprintable() for line in lines)
    read = [json.loads(line) for line in lines]
    assert [line["event"][:7] for line in read] == ["seen", "library", "failed"]
    assert read[0]["user"] == EVIL
    assert EVIL in read[1]["event"]


def test_a_port_that_others_reach_is_told_of_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    import time

    from stream.config.settings import MetricsSettings, ServeSettings
    from stream.http.probe_server import HttpServer, create_app
    from stream.telemetry.health import Health
    from stream.telemetry.metrics import Metrics

    configure_logs(LogSettings())
    app = create_app(Metrics(), Health(60.0, time.monotonic))

    for host in ("127.0.0.1", "0.0.0.0"):
        HttpServer(app, MetricsSettings(host=host, port=0))._socket.close()
    HttpServer(app, ServeSettings(host="0.0.0.0", port=0), section="serve")._socket.close()  # it has words of its own

    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING port_is_open address=0.0.0.0:" in line
    assert MetricsSettings().host == "127.0.0.1"
