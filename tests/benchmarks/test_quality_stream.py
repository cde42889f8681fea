"""Files of events of many makes become the same stream, and what is wrong with a file is said in one line."""

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from benchmarks.quality.errors import QualityError
from benchmarks.quality.mapped_table import reading
from benchmarks.quality.stream import Stream, read_stream


def written(folder: Path, name: str = "events.parquet", **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def rows(stream: Stream) -> tuple[list[int], list[int], list[int]]:
    events = stream.events
    return events.user_rows.tolist(), events.item_rows.tolist(), events.times_ms.tolist()


def test_users_and_items_become_rows_in_the_order_in_which_they_come(tmp_path: Path) -> None:
    path = written(tmp_path, user=["b", "a", "b"], item=[70, 50, 50], ts=[1, 2, 2])

    assert rows(read_stream(path)) == ([0, 1, 0], [0, 1, 1], [1, 2, 2])


def test_a_dictionary_of_the_file_does_not_decide_the_order(tmp_path: Path) -> None:
    users = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), pa.array(["a", "b"]))
    pq.write_table(pa.table({"user": users, "item": [1, 2, 3], "ts": [0, 1, 2]}), tmp_path / "events.parquet")

    assert rows(read_stream(tmp_path / "events.parquet"))[0] == [0, 1, 0]


def test_rows_without_a_user_are_left_out_and_counted(tmp_path: Path) -> None:
    stream = read_stream(written(tmp_path, user=[None, 5, 5], item=[1, 2, 3], ts=[1, 2, 3]))

    assert rows(stream)[1] == [0, 1]
    assert stream.facts["num_left_out_without_user"] == 1
    assert stream.facts["num_rows_read"] == 3


def test_a_file_out_of_order_is_sorted_by_time_and_equal_times_stay_as_they_are(tmp_path: Path) -> None:
    stream = read_stream(written(tmp_path, user=[1, 2, 3, 4], item=[9, 8, 7, 6], ts=[5, 3, 5, 3]))

    assert rows(stream)[2] == [3, 3, 5, 5]
    assert stream.facts["was_sorted_by_ts"] is False
    # The limit is of the sorted stream: users 2 and 4, who come first.
    assert read_stream(tmp_path / "events.parquet", limit=2).num_items == 2


DAY = dt.datetime(2020, 9, 13, 12, 26, 40, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([1_600_000_000_000], "milliseconds"),
        ([1_600_000_000], "seconds since the epoch"),
        ([1_600_000_000.0], "seconds since the epoch"),
        ([1_600_000_000_000.0], "milliseconds"),
        ([1_600_000_000_000_000], "microseconds since the epoch"),
        (pa.array([DAY], pa.timestamp("us", "UTC")), "timestamps (timestamp[us, tz=UTC])"),
        (["2020-09-13T12:26:40Z"], "texts of timestamps"),
        (["2020-09-13 12:26:40"], "texts of timestamps"),
    ],
)
def test_times_are_read_sensibly_and_the_report_says_how(tmp_path: Path, times: Any, said: str) -> None:
    stream = read_stream(written(tmp_path, user=[1], item=[1], ts=times))

    assert rows(stream)[2] == [1_600_000_000_000]
    assert stream.facts["ts_read_as"] == said


def test_milliseconds_that_count_from_the_first_event_are_not_taken_for_seconds(tmp_path: Path) -> None:
    stream = read_stream(written(tmp_path, user=[1, 1], item=[1, 2], ts=[0, 2_678_373_000]))

    assert rows(stream)[2] == [0, 2_678_373_000]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_csv_and_json_lines_are_read_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clicks{suffix}"
    lines = ["user,item,ts", "ana,x,5", "ben,y,6"]
    if suffix == ".jsonl":
        lines = ['{"user": "ana", "item": "x", "ts": 5}', '{"user": "ben", "item": "y", "ts": 6}']
    path.write_text("\n".join(lines) + "\n")

    stream = read_stream(path)

    assert rows(stream) == ([0, 1], [0, 1], [5, 6])
    assert stream.name == "clicks"


def test_a_type_and_a_catalogue_choose_what_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, user=[1, 1, 1], item=["a", "b", "c"], ts=[1, 2, 3], type=["buy", "view", "buy"])
    items = written(tmp_path, "items.parquet", item=["a", "c"], merchandise=[True, False])

    assert read_stream(path, only="buy").facts["num_left_out_of_other_types"] == 1
    kept = read_stream(path, items=items)
    assert kept.num_items == 1
    assert kept.facts["num_left_out_not_in_catalogue"] == 2


def test_what_follows_from_the_order_is_worked_out(tmp_path: Path) -> None:
    path = written(tmp_path, user=[1, 2, 1, 1, 1], item=[5, 5, 6, 5, 7], ts=[1, 2, 3, 4, 5], session=[0, 1, 0, 2, 2])

    stream = read_stream(path)

    assert stream.events.user_ordinals.tolist() == [0, 0, 1, 2, 3]
    assert stream.events.basket_sizes.tolist() == [0, 0, 1, 0, 1]
    assert stream.events.is_repeat.tolist() == [False, False, False, True, False]
    assert stream.is_last.tolist() == [False, True, False, False, True]
    assert np.array_equal(stream.events.session_rows, [0, 1, 0, 2, 2])


@pytest.mark.parametrize(
    ("columns", "only", "message"),
    [
        ({"user": [1], "ts": [1]}, None, "got no item"),
        ({"user": [1], "item": [1], "ts": [1]}, "buy", "leave --type out"),
        ({"user": [1], "item": [1], "ts": [1], "type": ["view"]}, "buy", "got only view"),
        ({"user": [1], "item": [1], "ts": ["soon"]}, None, "texts that are neither"),
        ({"user": [1], "item": [1], "ts": [True]}, None, "got bool"),
        ({"user": pa.array([None], pa.int64()), "item": [1], "ts": [1]}, None, "got none that are left"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, columns: dict[str, Any], only: str, message: str) -> None:
    with pytest.raises(QualityError, match=message):
        read_stream(written(tmp_path, **columns), only=only)


def test_no_file_and_no_table_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no table")

    with pytest.raises(QualityError, match="nothing there"):
        read_stream(tmp_path / "gone.parquet")
    with pytest.raises(QualityError, match=r"expected parquet, .csv or .jsonl"):
        read_stream(tmp_path / "text.parquet")


def test_text_is_read_by_the_rules_of_produce(tmp_path: Path) -> None:
    path = tmp_path / "e.csv.gz"
    text = 'user;item;ts\n ana ;1;2020-09-13 12:26:40 UTC\nana;"2;a";1600000000000\nNULL;3;1600000000000\n'
    path.write_bytes(gzip.compress(text.encode("utf-8-sig")))

    stream = read_stream(path)

    assert rows(stream) == ([0, 0], [0, 1], [1_600_000_000_000] * 2)
    assert stream.facts["num_left_out_without_user"] == 1


def test_a_quote_that_is_never_closed_ends_the_run_where_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text('user,item,ts\nana,"1,5\nben,2,6\n')

    with pytest.raises(QualityError, match=r"e\.csv:2: expected every quote"):
        read_stream(path)


def test_ids_that_lost_digits_are_refused_and_those_in_bytes_are_text(tmp_path: Path) -> None:
    assert rows(read_stream(written(tmp_path, user=[b"a", b"b"], item=[1.0, 2.0], ts=[1, 2])))[0] == [0, 1]
    with pytest.raises(QualityError, match="user: expected ids, got floats of 2\\^53 and more"):
        read_stream(written(tmp_path, user=[2.0**53], item=[1], ts=[1]))


SHOP_LOG = (
    "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332117,7,view,355908,\n"
    "1433224214164,8,addtocart,248676,\n"
    "1433221999827,7,transaction,318965,4000\n"
)


def test_a_public_file_is_read_by_its_preset_as_produce_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(SHOP_LOG)

    stream = read_stream(path, options=reading("retailrocket", None, None))

    assert rows(stream)[0] == [0, 0, 1]
    assert stream.facts["types"] == {"view": 1, "purchase": 1, "cart": 1}
    assert stream.events.times_ms.tolist() == [1433221332117, 1433221999827, 1433224214164]
    assert not stream.has_sessions


def test_columns_of_other_names_are_mapped_and_a_file_without_our_types_has_one(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("kunde;sku;wann\nana;1;1433221332\nben;2;1433221333\n")

    stream = read_stream(path, options=reading(None, ["user=kunde", "item=sku", "ts=wann"], None, ts_unit="s"))

    assert (len(stream), stream.num_users, stream.facts["types"]) == (2, 2, {"view": 2})


@pytest.mark.parametrize(
    ("map_", "said"), [(["user=nobody"], "no such column"), (["user=kunde", "item=sku", "ts=wann"], "--ts-unit s")]
)
def test_a_file_that_cannot_be_understood_so_is_refused(tmp_path: Path, map_: list[str], said: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("kunde;sku;wann\nana;1;1433221332\n")

    with pytest.raises(QualityError, match=said):
        read_stream(path, options=reading(None, map_, None))


def test_nothing_said_is_no_reading_and_nonsense_is_refused() -> None:
    assert reading(None, None, None, ts_unit=None, relative_time=False) is None
    with pytest.raises(QualityError, match="--preset: expected one of"):
        reading("nonsense", None, None)
