"""A made stream has the size that was asked for, is the same every time, and holds something that can be learned."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.errors import QualityError
from benchmarks.quality.stream import read_stream
from benchmarks.quality.synthetic import FAMILY, MOST, Shape, made, main


@pytest.mark.parametrize("num_events", [1, 2, 63, 5_000])
def test_a_stream_has_as_many_events_as_asked_for(num_events: int) -> None:
    assert made(Shape(num_events=num_events, num_items=120, num_users=30)).num_rows == num_events


def test_the_same_shape_gives_the_same_stream_and_another_seed_another_one() -> None:
    shape = Shape(num_events=500, num_items=120, num_users=30)

    assert made(shape).equals(made(shape))
    assert not made(shape).equals(made(Shape(num_events=500, num_items=120, num_users=30, seed=1)))


def test_times_never_go_back_and_a_visit_is_of_one_user_and_one_family() -> None:
    table = made(Shape(num_events=5_000, num_items=1_020, num_users=200))
    visits, users = table["session"].to_pylist(), table["user"].to_pylist()
    items = [int(item[1:]) for item in table["item"].to_pylist()]

    assert (np.diff(table["ts"].to_numpy()) >= 0).all()
    assert max(items) < 1_020
    assert len(set(zip(visits, users, strict=True))) == len(set(visits))
    families = [item // FAMILY for item in items]
    assert len(set(zip(visits, families, strict=True))) == len(set(visits))
    assert max(np.unique(visits, return_counts=True)[1]) <= MOST


def test_the_item_after_the_last_one_comes_next_more_often_than_any_other() -> None:
    table = made(Shape(num_events=20_000, num_items=1_000, num_users=200))
    last: dict[str, int] = {}
    steps: list[int] = []
    for visit, item in zip(table["session"].to_pylist(), table["item"].to_pylist(), strict=True):
        row = int(item[1:])
        if visit in last:
            steps.append((row - last[visit]) % FAMILY)
        last[visit] = row

    shares = np.bincount(steps, minlength=FAMILY) / len(steps)
    assert shares[1] > 0.45
    assert np.delete(shares, 1).max() < 0.1


def test_the_command_writes_a_file_that_the_benchmark_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "large.parquet"

    assert main(["--events", "3000", "--items", "400", "--users", "90", "--out", str(out)]) == 0

    stream = read_stream(out)
    assert len(stream) == 3_000
    assert stream.has_sessions
    assert stream.facts["was_sorted_by_ts"] is True
    said = capsys.readouterr().out
    assert f"3,000 events, {stream.num_users:,} users, {stream.num_items:,} items" in said


@pytest.mark.parametrize("size", ["num_events", "num_items", "num_users"])
def test_a_size_that_is_not_positive_is_refused(size: str) -> None:
    sizes = {"num_events": 5, "num_items": 5, "num_users": 5, size: 0}

    with pytest.raises(QualityError, match=f"{size}: expected a whole number >= 1, got 0"):
        Shape(**sizes)


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--events", "0", "--out", str(tmp_path / "x.parquet")]) == 2
    assert main(["--events", "10", "--out", str(tmp_path / "missing" / "x.parquet")]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)
