"""The texts around the code hold together: links lead somewhere, schemas are those of the structs, nothing private.

The checks are tried on made-up texts that fail them.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.settings_reference import settings_page
from stream.config.loading import setting_fields
from stream.wire.schema import SCHEMAS, json_schema

ROOT = Path(__file__).resolve().parents[2]
PLACES = (
    "stream",
    "online_models",
    "producers",
    "millstream",
    "tests",
    "benchmarks",
    "deploy",
    "docs",
    "examples",
    ".ci",
)
DOCUMENTS = [
    str(path.relative_to(ROOT)) for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
]

FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.~$}])/(?:home/(?!millstream\b)|Users/|root/|work/)\w",
    "a merge that was not finished": r"^(?:<{7}|>{7}) ",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a note to oneself": r"\b(?:TODO|FIXME|XXX)\b",
}


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and content of every text of the project."""
    inside = [path for place in PLACES for path in sorted((ROOT / place).rglob("*"))]
    for path in [*sorted(ROOT.glob("*")), *inside]:
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def forbidden_in(text: str) -> list[str]:
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text, flags=re.MULTILINE)]


def test_no_text_holds_what_belongs_to_one_machine_or_one_moment() -> None:
    found = {name: forbidden_in(text) for name, text in texts() if name != "tests/project/test_project_texts.py"}

    assert "CONTRIBUTING.md" in found
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see /home/ana/notes.txt", "a path of somebody's machine"),
        ('open("/work/data.csv")', "a path of somebody's machine"),
        ("a\n<<<<<<< HEAD\nb", "a merge that was not finished"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("x = 1  # TODO later", "a note to oneself"),
    ],
)
def test_a_forbidden_text_is_found(text: str, what: str) -> None:
    assert forbidden_in(text) == [what]


def test_what_only_looks_forbidden_is_let_through() -> None:
    assert forbidden_in("WORKDIR /home/millstream and ~/work/x and ./root/y, https://a.example/home/b") == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    path = ROOT / document

    assert broken_links(path.read_text(encoding="utf-8"), path.parent, path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# The page\n## Two words, here\n")
    text = (
        "[a](page.md) [b](nowhere.md) [c](page.md#two-words-here) [d](page.md#nowhere) [e](#gone) ![f](no.png)\n"
        "[g](https://example.org/x)\n```\n[h](in-code.md)\n```\n`[i](also-code.md)` [j]: k\n[k]: lost.md\n"
    )

    assert broken_links(text, tmp_path, page) == ["nowhere.md", "page.md#nowhere", "#gone", "no.png", "lost.md"]


def broken_links(text: str, folder: Path, page: Path) -> list[str]:
    """Return the targets of a Markdown text's links that are no file of ours, or no heading of one."""
    prose = re.sub(r"^ *(`{3,}).*?^ *\1`*", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    targets = re.findall(r"\]\(<?([^)\s>]+)[^)]*\)", prose) + re.findall(
        r"^\[[^\]]+\]: +(\S+)$", prose, flags=re.MULTILINE
    )
    return [target for target in targets if not leads_somewhere(target, folder, page)]


def leads_somewhere(target: str, folder: Path, page: Path) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, heading = target.partition("#")
    path = folder / name if name else page
    if not path.exists():
        return False
    return not heading or path.suffix != ".md" or heading in headings(path.read_text(encoding="utf-8"))


def headings(text: str) -> set[str]:
    """Return the anchors that a Markdown reader makes of the headings."""
    titles = re.findall(r"^#{1,6} +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_of_the_documents_names_all_of_them() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))]

    assert [page for page in pages if page != "README.md" and f"]({page})" not in index] == []


def test_decisions_are_numbered_without_a_gap_and_say_what_was_given_up() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [int(page.name.split("-")[0]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {int(page.name.split('-')[0])}\. \S", text), page.name
        for section in ("## Situation", "## Choice", "## What we gave up"):
            assert section in text, f"{page.name}: {section}"


def test_the_schemas_of_the_documents_are_those_of_the_structs() -> None:
    folder = ROOT / "docs/schemas"
    shown = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    structs = {f"{name}.schema.json": json_schema(name) for name in SCHEMAS}

    assert shown == structs, "run: millstream topics schemas --out docs/schemas"


def test_the_page_of_the_settings_is_written_from_their_declarations() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")

    assert page == settings_page(), "run: millstream config --markdown > docs/settings.md"
    assert all(f"| `{name}` | " in page for name, _ in setting_fields())


def test_the_changelog_speaks_of_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_license_is_the_whole_apache_license() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")

    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
