"""Logs are one line an event, whatever text comes from outside."""

import json
import logging
from collections.abc import Iterator

import pytest

from stream.logs import configure_logs, log_event
from stream.settings import LogSettings


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
