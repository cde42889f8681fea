"""Files and functions fit on a screen or a few, and a package's root on one: what is larger has a reason, by name.

The rules are tried on made-up trees that break each of them.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "online_models", "producers", "millstream")

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_BODY = 40
"""From the first line after the docstring to the last one."""

MOST_ENTRIES = 20
FEW_ENTRIES = ("stream", "online_models")
"""The packages whose root holds at most so many files and folders."""
NOT_COUNTED = ("__init__.py", "py.typed", "__pycache__")

LARGE: Mapping[str, str] = {
    "stream/telemetry/metrics.py": "every metric is declared in one place, with its help, buckets and labels",
    "stream/worker.py: Worker.__init__": "the composition root: every part of a worker is made here, once, in order",
}
"""A file, or a function of one, to the reason why it stays whole. What has become small enough is to go from here."""


@pytest.mark.slow
def test_every_file_and_function_and_root_of_the_tree_keeps_its_size() -> None:
    assert violations(ROOT, LARGE) == []


def test_the_whole_tree_is_measured() -> None:
    assert len(list(product_files(ROOT))) > 200


BROKEN_TREES = {
    "a file is too long": (
        {"stream/long.py": "a = 1\n" * 401},
        "stream/long.py: 401 lines, at most 400",
    ),
    "a file in a room inside a room is too long": (
        {"millstream/local/demo/long.py": "a = 1\n" * 401},
        "millstream/local/demo/long.py: 401 lines, at most 400",
    ),
    "a function is too long": (
        {"producers/long.py": "def long():\n" + "    a = 1\n" * 41},
        "producers/long.py: long: 41 lines, at most 40",
    ),
    "a method is too long, its docstring not counted": (
        {
            "producers/long.py": 'class A:\n    def b(self):\n        """B.\n\n        C.\n        """\n'
            + "        a = 1\n" * 41
        },
        "producers/long.py: A.b: 41 lines, at most 40",
    ),
    "an asynchronous function inside a function is too long": (
        {"stream/long.py": "def a():\n    async def b():\n" + "        c = 1\n" * 41},
        "stream/long.py: a.b: 41 lines, at most 40",
    ),
    "one statement makes a function too long": (
        {"stream/long.py": "def a():\n    return [\n" + "        1,\n" * 40 + "    ]\n"},
        "stream/long.py: a: 42 lines, at most 40",
    ),
    "a root holds too much": (
        {f"online_models/{letter}.py": "" for letter in "abcdefghijklmnopqrstu"},
        "online_models: 21 files and folders, at most 20",
    ),
    "folders count": (
        {f"stream/{letter}/a.py": "" for letter in "abcdefghijklmnopqrstu"},
        "stream: 21 files and folders, at most 20",
    ),
}


@pytest.mark.parametrize("name", BROKEN_TREES)
def test_what_is_too_large_is_found(name: str, tmp_path: Path) -> None:
    files, expected = BROKEN_TREES[name]

    assert expected in violations(write_tree(tmp_path, files), {})


def test_what_is_large_with_a_reason_is_let_through_and_only_that(tmp_path: Path) -> None:
    body = "    a = 1\n" * 41
    tree = write_tree(tmp_path, {"stream/long.py": "a = 1\n" * 401, "stream/b.py": f"def c():\n{body}def d():\n{body}"})

    found = violations(tree, {"stream/long.py": "one table", "stream/b.py: c": "one loop"})

    assert found == ["stream/b.py: d: 41 lines, at most 40"]


def test_an_exception_that_is_not_needed_any_more_is_found(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"stream/a.py": "def b():\n    return 1\n"})

    found = violations(tree, {"stream/a.py": "was long", "stream/a.py: b": "was long", "stream/gone.py": "was long"})

    assert found == [f"{name}: small enough, or gone" for name in ("stream/a.py", "stream/a.py: b", "stream/gone.py")]


def test_what_is_just_small_enough_is_not_a_violation(tmp_path: Path) -> None:
    files = {
        **{f"stream/{letter}.py": "" for letter in "abcdefghijklmnopqrs"},
        "stream/t.py": "a = 1\n" * 400,
        "stream/__init__.py": '"""A package."""\n',
        "stream/py.typed": "",
        "stream/__pycache__/a.pyc": "",
        "producers/a.py": 'def a():\n    """Doc.\n\n    More.\n    """\n' + "    b = 1\n" * 40,
        "producers/b.py": "def only_a_docstring():\n    'Doc.'\n",
        "tests/long.py": "a = 1\n" * 1000,
        **{f"millstream/{letter}.py": "" for letter in "abcdefghijklmnopqrstuvwxyz"},
    }

    assert violations(write_tree(tmp_path, files), {}) == []


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def violations(root: Path, large: Mapping[str, str]) -> list[str]:
    """Return one line for each thing that is too large without a reason, and for each reason without a thing."""
    sizes = [*file_sizes(root), *body_sizes(root)]
    too_large = {name: (size, most) for name, size, most in sizes if size > most}
    found = [f"{name}: {size} lines, at most {most}" for name, (size, most) in too_large.items() if name not in large]
    return [*found, *full_roots(root), *(f"{name}: small enough, or gone" for name in large if name not in too_large)]


def product_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every source file of the packages."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def file_sizes(root: Path) -> Iterator[tuple[str, int, int]]:
    for name, text in product_files(root):
        yield name, len(text.splitlines()), MOST_LINES_OF_A_FILE


def body_sizes(root: Path) -> Iterator[tuple[str, int, int]]:
    for name, text in product_files(root):
        for function, size in bodies(ast.parse(text)):
            yield f"{name}: {function}", size, MOST_LINES_OF_A_BODY


def bodies(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the functions inside a node, by qualified name, and how many lines the body of each has."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            statements = child.body[1:] if ast.get_docstring(child, clean=False) is not None else child.body
            if statements:
                yield f"{prefix}{child.name}", (statements[-1].end_lineno or 0) - statements[0].lineno + 1
        is_named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from bodies(child, f"{prefix}{child.name}." if is_named else prefix)  # type: ignore[attr-defined]


def full_roots(root: Path) -> Iterator[str]:
    for package in FEW_ENTRIES:
        if (root / package).is_dir():
            num = sum(path.name not in NOT_COUNTED for path in (root / package).iterdir())
            if num > MOST_ENTRIES:
                yield f"{package}: {num} files and folders, at most {MOST_ENTRIES}"
