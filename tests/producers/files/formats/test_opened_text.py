"""Promises of opening a text: compression and byte-order marks are read, and what is damaged or no text is named."""

import bz2
import gzip
import io
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from producers.files.event_file import EventFile, ReadOptions
from stream.errors import ConfigError
from stream.wire.schema import Event

LINES = b'{"user":"ana","item":"1","type":"click"}\n{"user":"ben","item":"2","type":"cart"}\n'
TABLE = "user,item,type\nana,1,click\nben,2,cart\n"
EVENTS = [Event(user="ana", item="1", type="click"), Event(user="ben", item="2", type="cart")]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_file_is_read_by_its_inner_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"e.jsonl{ending}"
    path.write_bytes(COMPRESSIONS[ending](LINES))

    assert list(EventFile(path)) == EVENTS


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_compressed_stream_is_told_by_its_first_bytes(ending: str) -> None:
    compress = COMPRESSIONS[ending]
    members = compress(TABLE[:20].encode()) + compress(TABLE[20:].encode())

    assert list(EventFile(io.BytesIO(members), ReadOptions(format="csv"))) == EVENTS


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_data_that_is_cut_off_or_damaged_is_no_end_of_the_file(tmp_path: Path, ending: str) -> None:
    whole = COMPRESSIONS[ending](LINES * 1_000)
    path = tmp_path / f"e.jsonl{ending}"
    path.write_bytes(whole[:-5])
    with pytest.raises(ConfigError, match=r"expected a file that can be read: the \w+ data is (cut off|damaged)"):
        list(EventFile(path, ReadOptions(skip_bad=True)))

    path.write_bytes(whole + b"rubbish at the end")
    with pytest.raises(ConfigError, match=r"the \w+ data is (cut off|damaged)"):
        list(EventFile(path, ReadOptions(skip_bad=True)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_byte_order_mark_is_read_at_the_start_of_every_text(tmp_path: Path, encoding: str, format: str) -> None:
    path = tmp_path / f"e.{format}"
    path.write_bytes((TABLE if format == "csv" else LINES.decode()).encode(encoding))

    assert list(EventFile(path)) == EVENTS


def test_text_in_utf_16_that_ends_in_the_middle_of_a_character_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(TABLE.encode("utf-16")[:-1])

    with pytest.raises(ConfigError, match="truncated data"):
        list(EventFile(path))


@pytest.mark.parametrize(
    ("first_bytes", "expected"),
    [(b"PK\x03\x04", "zip archive"), (b"PAR1", "--format parquet"), (b"Obj\x01", "Avro"), (b"ORC", "ORC")],
)
def test_what_is_no_text_is_named_by_its_first_bytes(first_bytes: bytes, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        list(EventFile(io.BytesIO(first_bytes + bytes(100))))


def test_a_json_array_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text('[{"user":"ana"}]')

    with pytest.raises(ConfigError, match=r"e\.json:1: expected one JSON object a line, got an array: jq"):
        list(EventFile(path, ReadOptions(skip_bad=True)))


def test_a_pipe_with_a_name_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(TABLE,), daemon=True)
    writer.start()

    assert list(EventFile(path)) == EVENTS
    writer.join(timeout=10)


def test_lines_of_a_stream_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        events = iter(EventFile(stream))
        os.write(writing, LINES[: LINES.index(b"\n") + 1])
        assert next(events) == EVENTS[0]
        os.close(writing)
        assert list(events) == []
