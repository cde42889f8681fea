"""Write the bundled data sets from the typed copies of their sources.

Only whoever changes the bundle runs this: `python -m producers.data.build SOURCE_DIR`, where SOURCE_DIR holds
`online-retail/{events,items}.parquet` and `otto-mini/{events,items}.parquet`. Running it again writes the same rows.
What it drops and renames is told in the README beside each data set.
"""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["build_online_retail", "build_otto_mini"]

HERE = Path(__file__).parent
DICTIONARY_COLUMNS = ["user", "item", "type", "value", "session", "context.country", "title"]
ONLINE_RETAIL_TYPES = {"purchase": "purchase", "return": "dislike"}
OTTO_TYPES = {"click": "click", "cart": "cart", "order": "purchase"}


def build_online_retail(source: Path, target: Path) -> None:
    """Write the purchases and returns of merchandise by known customers, and the titles of the items in them.

    Args:
        source: folder with the 541,909 source rows and the 4,070 stock codes.
        target: folder to write `events.parquet` and `items.parquet` to.
    """
    rows, items = _read(source, "events"), _read(source, "items")
    merchandise = items.filter(items["merchandise"])["item"]
    keep = pc.and_(pc.is_valid(rows["user"]), pc.is_in(rows["item"], value_set=merchandise))
    rows = rows.filter(pc.and_(keep, pc.not_equal(rows["type"], "adjust")))
    # Through whole pence: 6 x 2.55 multiplied as floats is 15.299999999999999.
    pence = pc.multiply(pc.cast(pc.round(pc.multiply(rows["price"], 100.0)), pa.int64()), rows["quantity"])
    events = {
        "user": _strings(rows["user"]),
        "item": _strings(rows["item"]),
        "ts": rows["ts"],
        "type": _renamed(rows["type"], ONLINE_RETAIL_TYPES),
        "value": pc.divide(pc.cast(pence, pa.float64()), 100.0),
        "session": _strings(rows["session"]),
        "context.country": _strings(rows["country"]),
    }
    titled = items.filter(pc.is_in(items["item"], value_set=pc.unique(rows["item"])))
    titles = pc.utf8_trim_whitespace(_strings(titled["title"]))
    _write(events, target / "events.parquet")
    _write({"item": _strings(titled["item"]), "title": titles}, target / "items.parquet")


def build_otto_mini(source: Path, target: Path) -> None:
    """Write all 862 typed events with orders called purchases, and the item ids without titles (there are none)."""
    rows, items = _read(source, "events"), _read(source, "items")
    events = {
        "user": _strings(rows["user"]),
        "item": _strings(rows["item"]),
        "ts": rows["ts"],
        "type": _renamed(rows["type"], OTTO_TYPES),
    }
    _write(events, target / "events.parquet")
    _write({"item": _strings(items["item"]), "title": pa.nulls(len(items), pa.string())}, target / "items.parquet")


def _read(source: Path, name: str) -> pa.Table:
    return pq.read_table(source / f"{name}.parquet")


def _strings(column: Any) -> Any:
    return pc.cast(column, pa.string())


def _renamed(column: Any, names: dict[str, str]) -> Any:
    """Return the column with every value replaced; a value without a new name is an error, not a null."""
    positions = pc.index_in(column, value_set=pa.array(list(names), pa.large_string()))
    if positions.null_count:
        raise ValueError(f"expected types {', '.join(names)}, got {pc.unique(column).to_pylist()}")
    return pc.take(pa.array(list(names.values())), positions)


def _write(columns: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in columns if name in DICTIONARY_COLUMNS],
        column_encoding={"ts": "DELTA_BINARY_PACKED"} if "ts" in columns else None,
        data_page_version="2.0",
        store_schema=False,  # the Arrow schema adds nothing to plain strings and numbers
    )
    print(f"{path}: {len(next(iter(columns.values()))):,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m producers.data.build SOURCE_DIR")
    build_online_retail(Path(sys.argv[1]) / "online-retail", HERE / "online_retail")
    build_otto_mini(Path(sys.argv[1]) / "otto-mini", HERE / "otto_mini")
