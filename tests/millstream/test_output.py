"""What comes from strangers drives no terminal, and what is printed arrives or is said to be lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.commands.subscribe import _row
from millstream.diagnosis.findings import lines_of, warning
from millstream.local.demo.view import DemoView
from millstream.terminal.read_only import rows_of
from millstream.terminal.user_report import user_lines
from producers.list_subscription import PublishedList
from stream.learning.user_view import HistoryEvent, UserView
from stream.wire.records import Record
from stream.wire.schema import RankedItem, Recommendation

EVIL = "\x1b]0;owned\x07\x1b[2J\nfake row\u202e"
FULL = Path("/dev/full")
SHOWN = r"\x1b]0;owned\x07\x1b[2J\nfake row\u202e"


def recommendation() -> Recommendation:
    return Recommendation(EVIL, 0, 0, 1, "m-1", [RankedItem(EVIL, 0.5, EVIL)])


def test_a_row_of_subscribe_is_one_line_without_commands_for_the_terminal() -> None:
    published = PublishedList(EVIL, recommendation(), Record("r", 0, 0, None, b"{}", [], 0))

    for titles in ({}, {EVIL: EVIL}):
        row = _row(published, titles).plain
        assert row.isprintable()
        assert row.count(SHOWN) == 2


def test_the_report_of_a_user_for_inspect_and_replay_shows_ids_written_out() -> None:
    view = UserView(EVIL, 0, [HistoryEvent(EVIL, "click", 0)], [RankedItem(EVIL, 0.5, EVIL)], {"popularity": 1.0})

    lines = user_lines(view, "the list")

    assert all(line.isprintable() for line in lines)
    assert sum(line.count(SHOWN) for line in lines) == 4


def test_the_demo_shows_titles_written_out() -> None:
    assert DemoView({"a": EVIL}, None, 3)._title("a").isprintable()
    assert DemoView({}, None, 3)._title(EVIL).isprintable()


def test_findings_and_facts_stay_on_their_lines() -> None:
    assert all(line.isprintable() for line in lines_of([warning("x", EVIL, EVIL)]))
    assert all(line.isprintable() for line in rows_of({"name": EVIL}))


def run(program: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={**os.environ, **environment}, timeout=60, check=False
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_json_stays_json_where_the_terminal_has_another_encoding(encoding: str) -> None:
    program = (
        "import msgspec\nfrom millstream.terminal.output import printed\n"
        "with printed():\n    print(msgspec.json.encode({'item': 'caf\\u00e9 \\u65e5\\U0001f600'}).decode())"
    )

    done = run(program, PYTHONIOENCODING=encoding)

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding)) == {"item": "café 日😀"}


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, which Linux has")
@pytest.mark.parametrize("arguments", [("config",), ("config", "--toml"), ("topics", "schemas"), ("--help",)])
def test_a_full_disk_is_one_line_and_no_traceback(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "millstream", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )

    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (1, 1), said
    assert "what was printed could not be written: No space left on device" in said


def test_an_error_that_names_what_somebody_wrote_is_printed_without_commands_for_the_terminal() -> None:
    done = run(
        "import sys\nfrom millstream.main import main\nsys.argv = ['millstream', 'produce', '\\x1b[2J.csv']\nmain()"
    )

    assert done.returncode == 3
    assert b"\\x1b[2J.csv" in done.stderr
    assert b"\x1b[2J" not in done.stderr
