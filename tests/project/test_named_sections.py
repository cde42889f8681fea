"""Pages and sections of the documents that messages send people to are there.

The check is tried on made-up messages that name what is not there.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "online_models", "producers", "millstream")

PAGE = re.compile(r"docs/[\w/.-]+\.md")
SECTION_AFTER = re.compile(r'(docs/[\w/.-]+\.md), "([^"]+)"')
SECTION_BEFORE = re.compile(r'"([^"]+)" in (docs/[\w/.-]+\.md)')
ANCHOR = re.compile(r"(docs/[\w/.-]+\.md)#([\w-]+)")


def texts_of(source: str) -> Iterator[str]:
    """Yield every text of a module, a formatted one with what stands between its values."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


def missing(texts: list[str], root: Path) -> set[str]:
    """Return what the texts name and the documents do not have."""
    found = {page for text in texts for page in PAGE.findall(text) if not (root / page).is_file()}
    named = [(page, section) for text in texts for page, section in SECTION_AFTER.findall(text)]
    named += [(page, section) for text in texts for section, page in SECTION_BEFORE.findall(text)]
    found |= {f'{page}, "{section}"' for page, section in named if section not in headings(root / page)}
    anchors = [anchor for text in texts for anchor in ANCHOR.findall(text)]
    return found | {f"{page}#{name}" for page, name in anchors if name not in map(slug, headings(root / page))}


def headings(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return [line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#")]


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_page_and_section_that_a_message_names_is_there() -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    texts = [text for path in paths for text in texts_of(path.read_text(encoding="utf-8"))]

    assert sum(len(PAGE.findall(text)) for text in texts) > 10
    assert any(SECTION_AFTER.search(text) for text in texts)
    assert any(SECTION_BEFORE.search(text) for text in texts)
    assert missing(texts, ROOT) == set()


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## When it's here\n")
    good = ['see docs/page.md, "When it\'s here"', '"Page" in docs/page.md', "docs/page.md#when-its-here"]
    bad = ['see docs/page.md, "Gone"', '"Lost" in docs/page.md', "docs/page.md#gone", "docs/nothing.md"]

    assert missing(good, tmp_path) == set()
    assert missing(bad, tmp_path) == {
        'docs/page.md, "Gone"',
        'docs/page.md, "Lost"',
        "docs/page.md#gone",
        "docs/nothing.md",
    }
    assert list(texts_of("f'see {x}, docs/page.md' 'and'")) != []
