"""Promises of reading event files: formats, names, times, and what is said when a file is not as expected."""

import errno
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.files.cells import context_value, number, to_id
from producers.files.event_file import EventFile, ReadOptions
from producers.files.rows import BadRow
from producers.files.times import time_ms
from stream.errors import ConfigError
from stream.wire.schema import Event


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    path = folder / "events.parquet"
    pq.write_table(pa.table(columns), path)
    return path


FULL = Event(
    user="ana",
    item="007",
    type="purchase",
    ts=1291191960000,
    id="e-1",
    value=15.3,
    session="s-1",
    context={"country": "GB"},
)


def test_csv_holds_all_fields_and_ids_keep_their_leading_zeros(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "events.csv",
        "user,item,type,ts,id,value,session,context.country\nana,007,purchase,1291191960000,e-1,15.3,s-1,GB\n",
    )

    assert list(EventFile(path)) == [FULL]


def test_tsv_jsonl_and_parquet_hold_the_same_event(tmp_path: Path) -> None:
    tsv = written(
        tmp_path,
        "events.tsv",
        "user\titem\ttype\tts\tid\tvalue\tsession\tcontext.country\n"
        "ana\t007\tpurchase\t1291191960000\te-1\t15.3\ts-1\tGB\n",
    )
    jsonl = written(
        tmp_path,
        "events.jsonl",
        '{"user":"ana","item":"007","type":"purchase","ts":1291191960000,"id":"e-1","value":15.3,"session":"s-1",'
        '"context":{"country":"GB"}}\n',
    )
    columns = {"user": ["ana"], "item": ["007"], "type": ["purchase"], "ts": [1291191960000], "id": ["e-1"]}
    table = parquet(tmp_path, columns | {"value": [15.3], "session": ["s-1"], "context": [{"country": "GB"}]})

    assert list(EventFile(tsv)) == list(EventFile(jsonl)) == list(EventFile(table)) == [FULL]


LATE = [
    Event(user="ana", item="1", type="click"),
    Event(user="ana", item="2", type="cart", ts=1291191960000, id="e-2", value=2.5, session="s", context={"at": "GB"}),
]
"""What the first row leaves out, the second one has."""


def test_fields_that_begin_after_the_first_line_are_read_from_jsonl(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "e.jsonl",
        '{"user":"ana","item":"1","type":"click"}\n'
        '{"user":"ana","item":"2","type":"cart","ts":1291191960000,"id":"e-2","value":2.5,"session":"s",'
        '"context.at":"GB"}\n',
    )

    assert list(EventFile(path)) == LATE


def test_columns_that_are_empty_at_first_are_read_from_csv_and_parquet(tmp_path: Path) -> None:
    table = written(
        tmp_path,
        "e.csv",
        "user,item,type,ts,id,value,session,context.at\nana,1,click,,,,,\nana,2,cart,1291191960000,e-2,2.5,s,GB\n",
    )
    columns: dict[str, Any] = {"user": ["ana", "ana"], "item": ["1", "2"], "type": ["click", "cart"]}
    columns |= {"ts": [None, 1291191960000], "id": [None, "e-2"], "value": [None, 2.5], "session": [None, "s"]}
    nulls = parquet(tmp_path, columns | {"context.at": [None, "GB"]})

    assert list(EventFile(table)) == list(EventFile(nulls)) == LATE


def test_nulls_in_jsonl_are_fields_without_a_value(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "e.jsonl",
        '{"user":"ana","item":"1","type":"click","ts":null,"id":null,"value":null,"session":null,"context":null}\n',
    )

    assert list(EventFile(path)) == LATE[:1]


def test_a_first_line_without_a_user_is_one_bad_row_and_no_reason_to_refuse_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "e.jsonl", '{"item":"1","type":"click"}\n{"user":"ana","item":"1","type":"click"}\n')
    file = EventFile(path, ReadOptions(skip_bad=True))

    assert list(file) == LATE[:1]
    assert file.num_bad == 1
    assert "e.jsonl:1: user: expected an id, got nothing but item, type; is it one of them? --map user=COLUMN" in str(
        file.first_bad
    )


def test_a_mapped_field_may_begin_late_but_one_that_no_line_has_is_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "e.jsonl",
        '{"user":"ana","item":"1","type":"click"}\nrubbish\n{"user":"ana","item":"1","type":"click","when":1291191960}\n',
    )
    options = ReadOptions(columns={"ts": "when"}, ts_unit="s", skip_bad=True)

    assert [event.ts for event in EventFile(path, options)] == [None, 1291191960000]
    with pytest.raises(ConfigError, match="--map ts=wenn: no such column; there are user, item, type, when"):
        EventFile(path, ReadOptions(columns={"ts": "wenn"}))


def test_capital_endings_name_the_same_formats(tmp_path: Path) -> None:
    assert list(EventFile(written(tmp_path, "E.CSV", "user,item,type\nana,1,click\n"))) == LATE[:1]


def test_a_format_can_be_named_for_a_file_whose_ending_says_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "e.txt", "user\titem\ttype\nana\t1\tclick\n")

    assert list(EventFile(path, ReadOptions(format="tsv"))) == LATE[:1]


@pytest.mark.parametrize(
    ("format", "text"),
    [(None, b'{"user":"ana","item":"1","type":"click"}\n'), ("csv", b"user,item,type\nana,1,click\n")],
)
def test_a_stream_is_read_once_as_json_lines_or_in_the_named_format(format: str | None, text: bytes) -> None:
    assert list(EventFile(io.BytesIO(text), ReadOptions(format=format))) == LATE[:1]


def test_the_columns_of_a_stream_are_checked_once_they_are_seen() -> None:
    stream = EventFile(io.BytesIO(b"customer,item,type\nana,1,click\n"), ReadOptions(format="csv", skip_bad=True))

    with pytest.raises(ConfigError, match="standard input: no column user; there are customer, item, type"):
        list(stream)
    with pytest.raises(ConfigError, match="standard input: expected csv, tsv or jsonl"):
        EventFile(io.BytesIO(b""), ReadOptions(format="parquet"))


def test_integer_ids_become_their_digits_also_in_a_column_with_gaps(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"user": [17850], "item": pa.array([22423.0]), "type": ["click"], "session": [None]})

    assert list(EventFile(path)) == [Event(user="17850", item="22423", type="click")]


def test_other_column_names_are_mapped(tmp_path: Path) -> None:
    path = written(tmp_path, "sales.csv", "customer,sku,country\nana,1,GB\n")
    options = ReadOptions(columns={"user": "customer", "item": "sku", "context.land": "country"}, default_type="like")

    assert list(EventFile(path, options)) == [Event(user="ana", item="1", type="like", context={"land": "GB"})]


def test_a_default_type_fills_only_the_rows_without_one(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type\nana,1,\nana,2,cart\n")

    assert [event.type for event in EventFile(path, ReadOptions(default_type="view"))] == ["view", "cart"]


def test_a_parquet_file_is_read_in_batches_and_numbers_its_rows_through(tmp_path: Path) -> None:
    users: list[str | None] = ["ana"] * 10_000
    users[9_000] = None
    path = parquet(tmp_path, {"user": users, "item": ["1"] * 10_000, "type": ["click"] * 10_000})

    with pytest.raises(BadRow, match=r"events\.parquet:9001: user: expected an id, got nothing"):
        list(EventFile(path))
    assert EventFile(path).num_rows == 10_000


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type\nana,1,click\nana,,click\n")

    assert next(iter(EventFile(path))).item == "1"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("e.csv", "user,item,type\nana,1,click\nben,2,clicked\n", "e.csv:3: type: expected one of view, click"),
        ("e.csv", "user,item,type,ts\nana,1,click,soon\n", "e.csv:2: ts: expected a time: a number, or ISO 8601"),
        ("e.csv", "user,item,type,ts\nana,1,click,1291191960\n", "looks like seconds; say so with --ts-unit s"),
        ("e.csv", "user,item,type,value\nana,1,click,much\n", "e.csv:2: value: expected a number, got 'much'"),
        ("e.csv", "user,item,type\nana,1\n", "e.csv:2: expected 3 columns, got 2"),
        ("e.csv", 'user,item,type\n"a\nb",1,click\nana,,click\n', "e.csv:4: item: expected an id, got nothing"),
        ("e.jsonl", '{"user":"ana","item":"1","type":"click"}\n\n{"user":\n', "e.jsonl:3: expected one JSON object"),
        ("e.jsonl", '{"user":"ana","item":"1","type":"click"}\n{"item":"1"}\n', "e.jsonl:2: user: expected an id"),
        ("e.jsonl", '{"user":true,"item":"1","type":"click"}\n', "expected an id (text or whole number), got True"),
        ("e.jsonl", '{"user":1.5,"item":"1","type":"click"}\n', "expected an id (text or whole number), got 1.5"),
        ("e.csv", "user,item,type\n" + "u" * 257 + ",1,click\n", "e.csv:2: event user="),
    ],
)
def test_a_bad_row_is_named_with_what_was_expected(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = written(tmp_path, name, text)

    with pytest.raises(BadRow) as refused:
        list(EventFile(path))

    assert expected in str(refused.value)


def test_bad_rows_are_counted_and_the_rest_is_read_when_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type\nana,1,click\nben,2,clicked\ncid,3\ndan,4,cart\n")
    file = EventFile(path, ReadOptions(skip_bad=True))

    assert [event.user for event in file] == ["ana", "dan"]
    assert file.num_bad == 2
    assert "e.csv:3: type" in str(file.first_bad)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ReadOptions(), "no column user; there are customer, sku. Say which one it is: --map user=COLUMN"),
        (ReadOptions(columns={"user": "customer"}), "no column item"),
        (ReadOptions(columns={"user": "customer", "item": "sku"}), "--type purchase"),
        (ReadOptions(columns={"user": "client"}), "--map user=client: no such column; there are customer, sku"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(
    tmp_path: Path, options: ReadOptions, expected: str
) -> None:
    path = written(tmp_path, "sales.csv", "customer,sku\nana,1\n")

    with pytest.raises(ConfigError) as refused:
        EventFile(path, options)

    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none.csv", "there is no such file"), ("e.xlsx", "expected a file that ends in .parquet, .csv")],
)
def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        EventFile(tmp_path / name)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_column_names_in_another_encoding_are_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes("user,item,type,größe\nana,1,click,2\n".encode(encoding))

    with pytest.raises(ConfigError, match=r"e\.csv:1: expected column names in UTF-8"):
        EventFile(path, ReadOptions(skip_bad=True))


def test_of_a_file_in_latin_1_only_the_rows_that_need_the_foreign_bytes_are_bad(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    rows = "user,item,type,note\nana,1,click,Zoë\nZoë,1,click,\nana,1,click,\n"
    path.write_bytes(rows.encode("latin-1"))
    file = EventFile(path, ReadOptions(skip_bad=True))

    assert list(file) == 2 * LATE[:1]
    assert file.num_bad == 1
    assert "e.csv:3: event user='Zo\\udceb'" in str(file.first_bad)
    assert "expected text in UTF-8" in str(file.first_bad)


def test_a_column_that_is_there_twice_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected every column once, got item more than once"):
        EventFile(written(tmp_path, "e.csv", "user,item,item,type,,\nana,1,2,click,,\n"))

    table = pa.Table.from_arrays([pa.array(["ana"]), pa.array(["ben"])], ["user", "user"])
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(ConfigError, match="got user more than once"):
        EventFile(tmp_path / "e.parquet")


def test_a_parquet_file_with_a_damaged_page_is_refused_where_the_damage_is(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(20_000)]
    path = parquet(tmp_path, {"user": users, "item": users, "type": ["click"] * 20_000})
    damaged = bytearray(path.read_bytes())
    damaged[1_000:50_000] = bytes(49_000)
    path.write_bytes(damaged)

    with pytest.raises(ConfigError, match=r"events\.parquet: expected a whole parquet file: "):
        list(EventFile(path, ReadOptions(skip_bad=True)))


def test_times_finer_than_python_has_are_read_from_parquet(tmp_path: Path) -> None:
    times = pa.array([1291191960123456789], pa.timestamp("ns", "UTC"))
    path = parquet(tmp_path, {"user": ["ana"], "item": ["1"], "type": ["click"], "ts": times})

    assert [event.ts for event in EventFile(path)] == [1291191960123]


def test_a_disk_that_fails_while_a_file_is_read_is_no_traceback() -> None:
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(errno.EIO, "Input/output error")

    for format in ("jsonl", "csv"):
        with pytest.raises(ConfigError, match="expected a file that can be read: Input/output error"):
            list(EventFile(io.BufferedReader(Failing()), ReadOptions(format=format)))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a parquet file"):
        EventFile(written(tmp_path, "e.parquet", "user,item"))


@pytest.mark.parametrize(
    "options", [{"columns": {"usr": "a"}}, {"default_type": "clicked"}, {"format": "xls"}, {"ts_unit": "h"}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected one of"):
        ReadOptions(**options)


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        (1291191960000, "ms", 1291191960000),
        ("1291191960000", "ms", 1291191960000),
        (1291191960, "s", 1291191960000),
        (1291191960.5, "s", 1291191960500),
        (1291191960123456, "us", 1291191960123),
        (1291191960123456789, "ns", 1291191960123),
        ("2010-12-01T08:26:00Z", "ms", 1291191960000),
        ("2010-12-01 08:26", "ms", 1291191960000),
        ("2010-12-01T09:26:00+01:00", "ms", 1291191960000),
        (datetime(2010, 12, 1, 8, 26), "ms", 1291191960000),
        (datetime(2010, 12, 1, 8, 26, tzinfo=UTC), "s", 1291191960000),
        (date(2010, 12, 1), "ms", 1291161600000),
        (None, "ms", None),
        ("", "ms", None),
        (float("nan"), "ms", None),
    ],
)
def test_a_time_becomes_milliseconds(cell: Any, unit: str, expected: int | None) -> None:
    assert time_ms(cell, unit) == expected


@pytest.mark.parametrize("cell", [True, [1], float("inf"), "12:30"])
def test_what_is_no_time_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        time_ms(cell)


def test_cells_of_other_types_become_the_values_of_an_event() -> None:
    assert to_id(float("nan")) is None
    assert number(Decimal("15.30")) == 15.3
    assert number("") is None
    assert context_value("at", date(2010, 12, 1)) == "2010-12-01"
    assert context_value("price", Decimal("2.55")) == 2.55
    with pytest.raises(ValueError, match=r"context\.tags: expected text, a number or true/false, got list"):
        context_value("tags", ["a"])
    with pytest.raises(ValueError, match="expected a finite number"):
        number("inf")
    with pytest.raises(ValueError, match="expected an id"):
        to_id(float("inf"))
