"""What the documents have people import is public, listed in docs/python.md, and there.

The check of a document is tried on made-up ones that break it.
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("producers", "online_models")
OURS = (*PUBLIC, "stream", "millstream")
LIST = ROOT / "docs" / "python.md"
SHOWN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.py"))]


def listed(package: str) -> set[str]:
    """Return the names that the page lists under the heading of a package."""
    section = LIST.read_text(encoding="utf-8").partition(f"\n## {package}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_page_lists_what_the_package_exports_and_nothing_else(package: str) -> None:
    assert listed(package) == set(importlib.import_module(package).__all__)


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.name)
def test_a_document_imports_public_names_only(path: Path) -> None:
    assert private_imports(path.read_text(encoding="utf-8"), is_code=path.suffix == ".py") == []


BROKEN = {
    "a room": "from stream.wire.schema import Event",
    "a room of a public package": "from producers.item_titles import send_titles",
    "a name that is not exported": "from producers import Nothing",
    "a whole package of ours": "import stream",
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_private_import_is_found(which: str) -> None:
    assert private_imports(f"Text.\n\n```python no-run\nimport os\n{BROKEN[which]}\n```\n", is_code=False)


def test_public_imports_and_those_of_others_are_none() -> None:
    assert private_imports("from producers import Event\nimport json, kafka\n", is_code=True) == []


def private_imports(text: str, *, is_code: bool) -> list[str]:
    """Return the imports of ours that are not public, of a program or of the Python blocks of a document."""
    blocks = [text] if is_code else re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = []
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in OURS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            names = [alias.name for alias in node.names]
            is_public = node.module in PUBLIC and set(names) <= listed(node.module)
            found += [] if is_public else [f"{node.module}: {', '.join(names)}"]
    return found
