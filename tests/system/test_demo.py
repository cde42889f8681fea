"""The demo as a user starts it: everything on one machine, a report at the end, and nothing left behind."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from millstream.commands.demo import _check_writable, _PlainLines, demo
from millstream.diagnosis.scrape import Scrape
from stream.errors import ConfigError

DEADLINE_SECONDS = 120.0
COMMAND = [sys.executable, "-m", "millstream", "demo", "--no-view"]

pytestmark = pytest.mark.usefixtures("broker")  # skipped where the embedded broker is not installed


def children_of(pid: int) -> set[int]:
    """Return all living descendants of a process, from /proc."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found, more = set[int](), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def running(pids: set[int]) -> set[int]:
    living = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            living.add(pid)
    return living


def test_the_report_accounts_for_every_event_and_the_model_beats_popularity(tmp_path: Path) -> None:
    report = tmp_path / "r.json"

    ended = subprocess.run(
        [*COMMAND, "--events", "3000", "--rate", "max", "--report", str(report)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    measured = json.loads(report.read_text())
    assert measured["events_in"] == 3000
    assert measured["events_learned"] + measured["dead_letters"] == 3000
    assert measured["lists_published"] == measured["lists_seen"] > 0
    assert set(measured["stage_seconds"]) == {"poll", "decode", "evaluate", "learn", "rank", "publish", "commit"}
    assert all(seconds > 0 for seconds in measured["stage_seconds"].values())
    assert 0 < measured["freshness_seconds"]["p50"] <= measured["freshness_seconds"]["p99"]
    quality = measured["quality"]
    assert set(quality) == {"model", "transitions", "popularity"}
    for metric in ("hr_at_10", "ndcg_at_10"):
        assert quality["model"][metric] > quality["popularity"][metric] > 0
    assert measured["versions"]["kafka_python"] == "3.0.12"
    assert measured["device"] in ("cpu", "cuda")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see every process")
def test_a_killed_demo_leaves_no_process_behind() -> None:
    parent = subprocess.Popen([*COMMAND, "--rate", "50"], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    for line in parent.stderr:
        if "sent" in line:
            break
    children = children_of(parent.pid)
    assert len(children) >= 4  # broker, worker, and a guard for each

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while running(children) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert running(children) == set()
    parent.stderr.close()


def test_ctrl_c_sends_no_more_learns_what_was_sent_and_reports(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    demo = subprocess.Popen([*COMMAND, "--rate", "100", "--report", str(report)], stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if "learned" in line and "learned 0" not in line:
            break

    demo.send_signal(signal.SIGINT)
    demo.stderr.read()

    assert demo.wait(DEADLINE_SECONDS) == 0
    measured = json.loads(report.read_text())
    assert 0 < measured["events_in"] == measured["events_learned"] < 30_000
    demo.stderr.close()


def test_bad_options_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rate: expected a number"):
        demo(rate="fast")
    with pytest.raises(ConfigError, match="does not exist"):
        demo(report=tmp_path / "nowhere" / "r.json")
    with pytest.raises(ConfigError, match="no such file"):
        demo(dataset_name="nowhere.parquet")
    assert list(tmp_path.iterdir()) == []


def test_the_places_of_report_and_picture_are_tried_without_a_trace(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("{}")

    _check_writable("--report", tmp_path / "new.json")
    _check_writable("--report", old)
    with pytest.raises(ConfigError, match="expected a file that can be written: Is a directory"):
        _check_writable("--report", tmp_path)

    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "{}"


def test_the_rate_is_written_as_for_produce(tmp_path: Path) -> None:
    # The rate is read first: the data set is what is refused.
    with pytest.raises(ConfigError, match="no such file"):
        demo(rate="200/s", dataset_name="nowhere.parquet")


def test_the_plain_lines_name_the_length_of_the_list() -> None:
    shown = io.StringIO()
    lines = _PlainLines(Console(file=shown), k=7)
    replay, watcher = SimpleNamespace(num_sent=5), SimpleNamespace(num_lists=2)

    lines.tick(replay, watcher, Scrape('millstream_hit_ratio{model="model",window="overall"} 0.25\n'))  # type: ignore[arg-type]

    assert shown.getvalue() == "sent 5  learned 0  lists 2  HR@7 0.250 (popularity 0.000)\n"


def test_a_worker_that_cannot_start_ends_the_demo_with_its_words_and_its_status() -> None:
    too_small = ["--set", "model.user_capacity=1000", "--set", "batching.max_events=600"]

    ended = subprocess.run(
        [*COMMAND, *too_small], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )

    assert ended.returncode == 4
    assert "each of 4 partitions gets 250 user rows" in ended.stderr


SHOP_LOG = "time,who,what,sku\n" + "".join(
    f"{1_700_000_000 + number},v{number % 7},{('view', 'addtocart')[number % 2]},s{number % 5}\n"
    for number in range(60)
)
READING = [
    "--map",
    "user=who",
    "--map",
    "item=sku",
    "--map",
    "type=what",
    "--map",
    "ts=time",
    "--map-type",
    "addtocart=cart",
]


def test_a_file_of_ones_own_is_replayed_with_the_reading_options_of_produce(tmp_path: Path) -> None:
    file, report = tmp_path / "shop.csv", tmp_path / "r.json"
    file.write_text(SHOP_LOG + "1700000100,v1,refund,s1\n")

    ended = subprocess.run(
        [
            *COMMAND,
            "--dataset",
            str(file),
            *READING,
            "--ts-unit",
            "s",
            "--skip-bad",
            "--rate",
            "max",
            "--report",
            str(report),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(report.read_text())["events_in"] == 60
    assert "read 61 rows: 60 events, 1 skipped, 0 left out" in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHOP_LOG, "no column user"),
        ("user,item,type\nana,a,addtocart\n", "--map-type addtocart=TYPE"),
        ("user,item,type\n", "found none"),
    ],
)
def test_a_file_that_cannot_be_read_ends_the_demo_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "shop.csv"
    file.write_text(text)

    ended = subprocess.run(
        [*COMMAND, "--dataset", str(file)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )

    assert (ended.returncode, said in ended.stderr, "starting" in ended.stderr) == (3, True, False), ended.stderr
