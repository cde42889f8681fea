"""The command line: help for everything, errors in one message with an exit code, settings with their origin."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stream.config.loading import load_config, setting_fields
from stream.errors import EXIT_CODES

COMMANDS = ["demo", "run", "broker", "topics", "topics create", "topics list", "topics schemas", "produce", "subscribe"]
COMMANDS += ["simulate", "config", "dlq", "dlq list", "dlq show", "dlq replay", "status", "doctor"]


def millstream(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "millstream", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = millstream(*command.split(), "--help")

    assert shown.returncode == 0
    assert "Usage: " in shown.stdout
    assert len(shown.stdout.splitlines()) > 5


@pytest.mark.slow
def test_the_command_without_arguments_shows_the_commands_and_the_exit_codes() -> None:
    shown = millstream()

    assert all(command.split()[0] in shown.stdout for command in COMMANDS)
    flat = " ".join(shown.stdout.split())
    assert all(f"{code} {meaning[:30]}" in flat for code, meaning in EXIT_CODES.items())


def test_the_exit_codes_stand_in_the_operating_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")

    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in page


def test_help_does_not_load_torch() -> None:
    program = "import sys, millstream.main\nprint([n for n in ('torch', 'river') if n in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.slow
def test_an_error_is_one_message_on_standard_error_with_its_exit_code() -> None:
    refused = millstream("topics", "list", "--set", "batching.max_events=0")

    assert refused.returncode == 3
    assert refused.stdout == ""
    assert refused.stderr.startswith("millstream: batching.max_events: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_wrong_usage_has_exit_code_2() -> None:
    assert millstream("run", "--no-such-flag").returncode == 2


@pytest.mark.slow
def test_config_shows_where_each_setting_comes_from_and_hides_secrets(tmp_path: Path) -> None:
    file = tmp_path / "millstream.toml"
    file.write_text("[model]\nk = 20\n")

    shown = millstream(
        "config", "--config", str(file), "--changed", MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD="canary", COLUMNS="400"
    )

    assert shown.returncode == 0, shown.stderr
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()[1:] if line.strip()}
    assert set(lines) == {"kafka.sasl_plain_password", "model.k"}
    assert f"file {file}" in lines["model.k"]
    assert "********" in lines["kafka.sasl_plain_password"]
    assert "canary" not in shown.stdout + shown.stderr


@pytest.mark.slow
def test_in_a_pipe_every_setting_is_one_whole_line() -> None:
    shown = millstream("config", COLUMNS="80")

    fields = list(setting_fields())
    header, *lines = [line.rstrip() for line in shown.stdout.splitlines()]
    assert header.split() == ["setting", "value", "origin", "what", "it", "is"]
    assert [line.split()[0] for line in lines] == [name for name, _ in fields]
    for line, (_, field) in zip(lines, fields, strict=True):
        assert line.endswith(f" {field.description}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("simulate", "--events", "1", "--out", "/nope/x"), "--out /nope/x: expected a file that can be written"),
        (("simulate", "--events", "1", "--out", "."), "--out .: expected a file that can be written: Is a directory"),
        (("broker", "--port", "0", "--data-dir", "/dev/null/x"), "/dev/null/x: expected a folder for the data"),
        (("broker", "--port", "0", "--data-dir", "/dev/null"), "/dev/null: expected a folder for the data"),
        (("demo", "--report", "."), "--report .: expected a file that can be written: Is a directory"),
        (("demo", "--picture", "."), "--picture .: expected a file that can be written: Is a directory"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_named(arguments: tuple[str, ...], expected: str) -> None:
    refused = millstream(*arguments)

    assert refused.stderr.startswith(f"millstream: {expected}"), refused.stderr
    assert refused.returncode == 3


@pytest.mark.slow
def test_the_help_of_the_broker_says_what_it_is_for_and_where_its_limits_are_written() -> None:
    shown = " ".join(millstream("broker", "--help").stdout.split())

    assert "For trying things out" in shown
    assert "docs/decisions/0003-the-embedded-broker.md" in shown


@pytest.mark.slow
def test_the_printed_settings_file_gives_the_same_settings_again(tmp_path: Path) -> None:
    printed = millstream("config", "--toml", "--set", "model.k=7", "--set", "evidence.owned=rating")
    file = tmp_path / "again.toml"
    file.write_text(printed.stdout)

    assert tomllib.loads(printed.stdout)["model"]["k"] == 7
    assert (
        load_config(file, environ={}).settings
        == load_config(flags={"model.k": "7", "evidence.owned": "rating"}, environ={}).settings
    )


def test_topics_are_created_once_and_listed(broker: object, tmp_path: Path) -> None:
    address = broker.bootstrap_servers  # type: ignore[attr-defined]
    names = {name: f"cli.{name}" for name in ("events", "items", "recommendations", "dead_letters", "journal")}
    file = tmp_path / "millstream.toml"
    file.write_text("[topics]\n" + "".join(f"{key} = {json.dumps(name)}\n" for key, name in names.items()))
    flags = ["--config", str(file), "--bootstrap-servers", address]

    assert millstream("topics", "list", *flags).stdout.count("missing") == 6  # five topics and the hint
    created = millstream("topics", "create", *flags)
    assert [line.split()[:2] for line in created.stdout.splitlines()] == [["created", n] for n in names.values()]
    again = millstream("topics", "create", *flags)
    assert [line.split()[:2] for line in again.stdout.splitlines()] == [["exists", n] for n in names.values()]
    assert "missing" not in millstream("topics", "list", *flags).stdout
