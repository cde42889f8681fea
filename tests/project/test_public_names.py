"""What is public is said to be, is there, and is documented.

Names and docstrings are read from the source; then every module is imported and its names looked up. The checks are
tried on made-up modules that break each of them.
"""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "online_models", "producers", "millstream")


def module_paths() -> list[Path]:
    """Return the files of all public modules; one whose name begins with an underscore is private."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in paths if path.name == "__init__.py" or not path.name.startswith("_")]


MODULES = [str(path.relative_to(ROOT)) for path in module_paths()]


@pytest.mark.parametrize("path", MODULES)
def test_a_module_says_what_is_public_and_documents_it(path: str) -> None:
    is_package = Path(path).name == "__init__.py"
    found = faults((ROOT / path).read_text(encoding="utf-8"), is_package=is_package)

    assert found == []


@pytest.mark.parametrize("path", MODULES)
def test_every_public_name_exists_and_exported_code_is_documented(path: str) -> None:
    parts = Path(path).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))

    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if callable(value) and str(getattr(value, "__module__", "")).startswith(PACKAGES):
            assert value.__doc__, f"{path}: {name} is exported without a docstring"


BROKEN = {
    "no module docstring": ("__all__ = []", "no docstring"),
    "no __all__": ('"""A module."""\ndef f(): "Doc."', "no __all__"),
    "__all__ that cannot be read": ('"""A module."""\n__all__ = [name for name in dir()]', "not a plain list"),
    "a name twice": ('"""A module."""\n__all__ = ["f", "f"]\nfrom a import f', "twice: f"),
    "a function without docstring": ('"""A module."""\n__all__ = ["f"]\ndef f(): ...', "f has no docstring"),
    "a class without docstring": ('"""A module."""\n__all__ = ["C"]\nclass C: ...', "C has no docstring"),
    "a method without docstring": (
        '"""A module."""\n__all__ = ["C"]\nclass C:\n    """A class."""\n    def go(self): ...',
        "C.go has no docstring",
    ),
    "a function that __all__ leaves out": ('"""A module."""\n__all__ = []\ndef f(): ...', "f has no docstring"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found(name: str) -> None:
    source, expected = BROKEN[name]

    assert any(expected in fault for fault in faults(source, is_package=False)), faults(source, is_package=False)


def test_private_names_dunders_and_an_empty_package_need_nothing() -> None:
    source = (
        '"""A module."""\n__all__ = ["C"]\nclass C:\n    """C."""\n    def __len__(self): ...\n    def _a(self): ...\n'
    )

    assert faults(source + "def _helper(): ...\n", is_package=False) == []
    assert faults("", is_package=True) == []
    assert faults('"""A package."""\n', is_package=True) == []


def faults(source: str, *, is_package: bool) -> list[str]:
    """Return one line for each thing that a module's source leaves unsaid."""
    tree = ast.parse(source)
    if is_package and all(isinstance(node, ast.Expr) for node in tree.body):
        return []  # a package that exports nothing
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    exported = declared_names(tree)
    if exported is None:
        return [*found, "no __all__, or not a plain list of strings"]
    found += [f"__all__ names twice: {name}" for name in sorted(set(exported)) if exported.count(name) > 1]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found += undocumented(node)
    return found


def declared_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            try:
                return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
            except ValueError:
                return None
    return None


def undocumented(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, prefix: str = "") -> list[str]:
    found = [] if ast.get_docstring(node) else [f"{prefix}{node.name} has no docstring"]
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                found += [] if overloads(member) else undocumented(member, f"{prefix}{node.name}.")
    return found


def overloads(member: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith(("overload", ".setter")) for decorator in member.decorator_list)
