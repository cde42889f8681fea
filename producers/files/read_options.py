"""How a file is understood: which column is which field, what its words and times mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from producers.files.cells import LEFT_OUT
from producers.files.formats.table import FORMATS
from producers.files.times import TS_UNITS, check_ts_format
from stream.errors import ConfigError
from stream.wire.schema import EVENT_TYPES

__all__ = ["CONTEXT", "CONTEXT_PREFIX", "EVENT_FIELDS", "NO_COLUMN", "ReadOptions"]

EVENT_FIELDS = ("user", "item", "type", "ts", "id", "value", "session")
"""Fields that a column can be mapped to. Columns `context.NAME` and a column `context` of objects come on top."""
CONTEXT = "context"
CONTEXT_PREFIX = "context."
NO_COLUMN = ""
"""What a field is mapped to that no column of the file serves, whatever its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How the columns of a file are understood."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the event to the name of the column, where they differ: `{"user": "customer_id"}`; to a path into nested
    JSON: `{"item": "properties.product_id"}`; or to `NO_COLUMN`."""
    optional: Mapping[str, str] = field(default_factory=dict)
    """The same for columns that need not be there."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Type of the file to one of ours: `{"addtocart": "cart"}`; to `LEFT_OUT`, and such rows are left out, counted. `*`
    stands for all types that are neither ours nor named here."""
    default_type: str | None = None
    """Type of the rows that name none, such as `purchase` for a file of orders. A column `type` that was not mapped and
    whose first value is no type of ours is not used then."""
    format: str | None = None
    """parquet, csv, tsv or jsonl; None: what the ending of the file says, and JSON lines for a stream."""
    delimiter: str | None = None
    """What separates the columns of a CSV or TSV file; None: a tab in TSV, and in CSV what the first line says."""
    names: tuple[str, ...] | None = None
    """Names of the columns of a CSV or TSV file without a header, empty for one that is not used."""
    each: str | None = None
    """A list in a row of JSON: each of its objects is a row, with the fields that stand beside the list."""
    ts_unit: str = "ms"
    """Unit of a numeric time: s, ms, us or ns."""
    ts_format: str | None = None
    """How times are written as text, in the letters of `strptime`: `%d-%m-%Y %H:%M`; None: ISO 8601, or a number."""
    relative_time: bool = False
    """Numeric times count from a start of their own, which becomes the year 2000."""
    skip_bad: bool = False
    """Count rows that are no events and go on, instead of stopping at the first."""

    def __post_init__(self) -> None:
        self._check_columns()
        for theirs, ours in self.types.items():
            if ours not in (*EVENT_TYPES, LEFT_OUT):
                raise ConfigError(f"--map-type {theirs}={ours}: expected one of {', '.join(EVENT_TYPES)}, or nothing")
        if self.default_type is not None and self.default_type not in EVENT_TYPES:
            raise ConfigError(f"--type: expected one of {', '.join(EVENT_TYPES)}, got {self.default_type}")
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, got {self.format}")
        if self.ts_unit not in TS_UNITS:
            raise ConfigError(f"--ts-unit: expected one of {', '.join(TS_UNITS)}, got {self.ts_unit}")
        if self.ts_format is not None:
            check_ts_format(self.ts_format)
        if self.delimiter is not None and (not self.delimiter or set(self.delimiter) & {'"', "\n", "\r"}):
            raise ConfigError(f"--delimiter: expected a separator such as ';', got {self.delimiter!r}")

    def _check_columns(self) -> None:
        served: dict[str, str] = {}
        for name, column in {**self.optional, **self.columns}.items():
            may_be_none = column == NO_COLUMN and name == CONTEXT
            if name not in EVENT_FIELDS and not name.startswith(CONTEXT_PREFIX) and not may_be_none:
                raise ConfigError(f"--map {name}: expected one of {', '.join(EVENT_FIELDS)} or context.NAME")
            if column != NO_COLUMN and column in served:
                raise ConfigError(
                    f"--map {name}={column}: expected a column of its own, got one that is mapped to {served[column]}"
                )
            served[column] = name
