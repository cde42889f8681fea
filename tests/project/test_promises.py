"""Every strong sentence of the documents is in docs/promises.md, with a test that tries to refute it.

The check itself is tried on made-up pages.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIST = Path("docs/promises.md")
STRONG = re.compile(
    r"\b(never|always|cannot|exactly once|bit for bit|none is|no list is|nothing is lost)\b", re.IGNORECASE
)
LINE = re.compile(
    r"^\| (?P<quote>.+?) \| \[[^]]+\]\((?P<page>[^)]+)\) \| `(?P<file>[^`:]+)::(?P<test>\w+)` \| .+ \|$", re.M
)

NO_PROMISE = (
    # Titles, and what sentences of other pages are about.
    "A recommender that never stops learning.",
    "[Quickstart](docs/quickstart.md) · [Producing]",
    "and what it cannot show",
    "# Exactly once, the model included",
    "compares with a run that was never interrupted:",
    "## When a record cannot be read",
    'and "a record cannot be read" again and again',
    "more than one record in a hundred cannot be read",
    "Three things always help.",
    # What somebody else's part does or does not.
    "- **Bit for bit means one build on one kind of machine.**",
    "We cannot prevent that from outside.",
    "A commit that is never answered",
    "Broker accepts and never answers, worker idle",
    "| Cannot |",
    "for the stream never ends",
    "Turn expiry on where items really die",
    'So: upgrade after a clean stop, never "because it crashed".',
    # Definitions: by what a word, a figure or a setting is meant.
    "Always 1; the labels say what runs.",
    "An item that was never seen before counts as a miss.",
    "(an item that was never seen is a miss for everybody)",
    "A target never seen before is a miss.",
    "they were never learned; what was learned stays in the checkpoints",
    "(It asks for the whole catalogue, and",
    "Memories subtract, never below 0.",
    "It never makes an item known and does not enter the history.",
    "A positive event of an item he has already cannot be listed",
    "Tables double when a row is beyond them and never shrink",
    "; 0: never.",
    "transitions and popularity always run beside it.",
    "The CPU always does.",
    "Meanings never change.",
    "never; a warning when",
)
"""Sentences that have such a word and are no promise of ours, by a part of them; "| never |" in a table, too."""


class Promise(NamedTuple):
    """A line of the list."""

    quote: str
    page: str
    file: str
    test: str


def promises(root: Path) -> list[Promise]:
    return [Promise(**found.groupdict()) for found in LINE.finditer((root / LIST).read_text(encoding="utf-8"))]


def pages(root: Path) -> list[Path]:
    return [
        path
        for path in (root / "README.md", root / "SECURITY.md", *sorted((root / "docs").glob("*.md")))
        if path != root / LIST
    ]


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def sentences(text: str) -> list[str]:
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\.) ?)", text)
    return [one for block in blocks for one in re.split(r"(?<=[.!?])\s+(?=[A-Z`*\[])", on_one_line(block))]


def broken(root: Path) -> list[str]:
    """Return the lines of the list whose sentence or whose test is not there."""
    wrong = []
    for promise in promises(root):
        page, file = (root / LIST).parent / promise.page, root / promise.file
        if not page.is_file() or promise.quote not in on_one_line(page.read_text(encoding="utf-8")):
            wrong.append(f"not in {promise.page}: {promise.quote}")
        names = (
            [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
            if file.is_file()
            else []
        )
        if promise.test not in names:
            wrong.append(f"no such test: {promise.file}::{promise.test}")
    return wrong


def unlisted(root: Path) -> list[str]:
    """Return the strong sentences that are neither in the list nor no promise."""
    quotes = [promise.quote for promise in promises(root)]
    return [
        f"{path.relative_to(root)}: {sentence}"
        for path in pages(root)
        for sentence in sentences(path.read_text(encoding="utf-8"))
        if STRONG.search(sentence)
        and not any(known in sentence for known in (*quotes, *NO_PROMISE))
        and not re.search(r"\| never \|", sentence)
    ]


def test_every_promise_stands_in_its_page_and_has_a_test() -> None:
    assert len(promises(ROOT)) > 40
    assert len(promises(ROOT)) == (ROOT / LIST).read_text(encoding="utf-8").count("::test_")
    assert broken(ROOT) == []


def test_every_strong_sentence_is_listed_or_no_promise() -> None:
    assert unlisted(ROOT) == []


def test_every_exception_is_still_needed() -> None:
    texts = [sentence for path in pages(ROOT) for sentence in sentences(path.read_text(encoding="utf-8"))]

    assert [known for known in NO_PROMISE if not any(known in sentence for sentence in texts)] == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "README.md").write_text("# It\n\nIt never\nfails. It is fast.\n")
    (tmp_path / "SECURITY.md").write_text("")
    (tmp_path / LIST).write_text("| It never fails. | [README.md](../README.md) | `tests/test_it.py::test_it` | - |\n")
    (tmp_path / "tests" / "test_it.py").write_text("def test_it() -> None: ...\n")
    return tmp_path


def test_a_list_that_agrees_is_well(project: Path) -> None:
    assert (broken(project), unlisted(project)) == ([], [])


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("README.md", "It fails.\n", "not in ../README.md: It never fails."),
        ("tests/test_it.py", "def test_another() -> None: ...\n", "no such test: tests/test_it.py::test_it"),
    ],
)
def test_a_sentence_or_a_test_that_is_gone_is_found(file: str, text: str, expected: str, project: Path) -> None:
    (project / file).write_text(text)

    assert broken(project) == [expected]


def test_a_new_strong_sentence_is_found(project: Path) -> None:
    (project / "docs" / "new.md").write_text("- Fast.\n- Nobody waits, and nothing\n  is lost. Good.\n")

    assert unlisted(project) == ["docs/new.md: - Nobody waits, and nothing is lost."]
