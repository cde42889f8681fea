"""Imports point one way, and each outside dependency has one home.

Every `import` of every module is read from its source, in functions and under TYPE_CHECKING too, so that nothing hides
behind a switch. The rules are tried on made-up trees that break each of them.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "online_models", "producers", "millstream")
WIRE = ("stream.wire.schema", "stream.wire.records", "stream.errors", "stream.config.settings", "stream.log.kafka")

LIGHT = (*WIRE, "stream.http.api")
"""Modules that load neither torch nor the model: those above, and the HTTP server, which is a process of its own."""

MAY_IMPORT_OF_OURS = {
    "online_models": ("online_models",),
    "stream": ("stream", "online_models"),
    "producers": ("producers", *WIRE),
    "millstream": PACKAGES,
}
"""Package to the modules of ours that its modules may import; a package stands for all it holds."""

MODEL_MAY_IMPORT = ("torch", "numpy")
"""Besides the standard library and itself: `online_models` works in a notebook with no broker installed."""

HOMES = {
    "kafka": ("stream.log.kafka",),
    "prometheus_client": ("stream.telemetry.metrics", "stream.http.probe_server", "millstream"),
    "torch": ("online_models",),
    "noida_db": ("millstream.local.embedded_broker",),
}
"""Outside package to the modules of ours that may import it. Tests and benchmarks are free."""


def test_every_import_of_the_tree_keeps_the_rules() -> None:
    imports = imports_of_tree(ROOT)

    assert {name.partition(".")[0] for name in imports} == set(PACKAGES)
    assert violations(imports) == []


def test_producers_the_kafka_package_and_the_server_leave_torch_and_the_model_unloaded() -> None:
    program = (
        "import sys, producers, stream.log.kafka, stream.http.api\n"
        "import stream.wire.schema, stream.wire.records, stream.errors, stream.config.settings\n"
        "print([name for name in ('torch', 'online_models', 'river', 'millstream') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


BROKEN_TREES = {
    "the model imports the stream": (
        {"online_models/a.py": "from stream.wire import schema"},
        "online_models.a imports stream.wire",
    ),
    "the model imports an outside package that is not torch or numpy": (
        {"online_models/a.py": "import river.drift"},
        "online_models.a imports river.drift",
    ),
    "the stream imports the producers, for types only": (
        {
            "stream/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import producers",
            "producers/__init__.py": "",
        },
        "stream.a imports producers",
    ),
    "the stream imports the command, inside a function": (
        {"stream/a.py": "def late():\n    from millstream import main", "millstream/main.py": ""},
        "stream.a imports millstream.main",
    ),
    "the producers import more of the stream than the wire": (
        {"producers/a.py": "from stream.pipeline import Pipeline", "stream/pipeline.py": ""},
        "producers.a imports stream.pipeline",
    ),
    "the producers import the model": (
        {"producers/a.py": "import online_models.retrieval.exact", "online_models/retrieval/exact.py": ""},
        "producers.a imports online_models.retrieval.exact",
    ),
    "a wire module reaches the model through another module": (
        {"stream/wire/records.py": "from stream import batch", "stream/batch.py": "import online_models"},
        "light module stream.wire.records reaches online_models by stream.batch",
    ),
    "the HTTP server reaches the model through another module": (
        {"stream/http/api/app.py": "from stream import worker", "stream/worker.py": "import online_models"},
        "light module stream.http.api.app reaches online_models by stream.worker",
    ),
    "a wire module reaches torch through its package": (
        {"stream/__init__.py": "import torch", "stream/errors.py": ""},
        "light module stream.errors reaches torch by stream",
    ),
    "the Kafka client is imported outside its home": (
        {"stream/worker.py": "from kafka.errors import KafkaError"},
        "stream.worker imports kafka.errors",
    ),
    "the metrics client is imported outside its home": (
        {"stream/pipeline.py": "import prometheus_client as p"},
        "stream.pipeline imports prometheus_client",
    ),
    "torch is imported outside the model": (
        {"millstream/main.py": "import torch"},
        "millstream.main imports torch",
    ),
    "the embedded broker's package is imported outside its home": (
        {"millstream/main.py": "import noida_db"},
        "millstream.main imports noida_db",
    ),
}


@pytest.mark.parametrize("name", BROKEN_TREES)
def test_a_broken_rule_is_found(name: str, tmp_path: Path) -> None:
    files, expected = BROKEN_TREES[name]

    found = violations(imports_of_tree(write_tree(tmp_path, files)))

    assert any(line.startswith(expected) for line in found), found


def test_what_the_rules_allow_is_not_a_violation(tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path,
        {
            "online_models/__init__.py": "from online_models.retrieval.exact import best",
            "online_models/retrieval/exact.py": "import math, numpy as np\nfrom torch import nn",
            "stream/log/kafka/client.py": "import kafka\nfrom stream.config.settings import KafkaSettings",
            "stream/config/settings.py": "import pydantic",
            "stream/learner.py": "from online_models.retrieval import exact",
            "stream/telemetry/metrics.py": "import prometheus_client",
            "producers/event_sender.py": "from stream.log.kafka.client import connect\nfrom stream.wire import schema",
            "stream/wire/schema.py": "import msgspec",
            "millstream/main.py": "import stream.learner, producers.event_sender",
        },
    )

    assert violations(imports_of_tree(tree)) == []


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def imports_of_tree(root: Path) -> dict[str, set[str]]:
    """Return each module of ours, by dotted name, and the dotted names that it imports."""
    paths = {module_name(path, root): path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))}
    return {name: set(imported_names(name, path, set(paths))) for name, path in paths.items()}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(module: str, path: Path, modules: set[str]) -> Iterable[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                # `from stream.wire import schema` names a module, `from stream.wire.schema import Event` does not.
                yield full if full in modules or base in PACKAGES else base


def absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def violations(imports: dict[str, set[str]]) -> list[str]:
    """Return one line for each import that breaks a rule, in order."""
    direct = [line for module in sorted(imports) for name in sorted(imports[module]) for line in judge(module, name)]
    return [*direct, *light_violations(imports)]


def judge(module: str, name: str) -> list[str]:
    package, target = module.partition(".")[0], name.partition(".")[0]
    line = f"{module} imports {name}"
    if target in PACKAGES and not within(name, MAY_IMPORT_OF_OURS[package]):
        return [f"{line}: {package} may import only {', '.join(MAY_IMPORT_OF_OURS[package])} of ours"]
    if target in HOMES and not within(module, HOMES[target]):
        return [f"{line}: only {', '.join(HOMES[target])} may"]
    is_outside = target not in PACKAGES and target not in sys.stdlib_module_names
    if package == "online_models" and is_outside and target not in MODEL_MAY_IMPORT:
        return [f"{line}: online_models may import only {', '.join(MODEL_MAY_IMPORT)} and the standard library"]
    return []


def light_violations(imports: dict[str, set[str]]) -> list[str]:
    """Follow the imports of the light modules; loading one also loads the packages above it."""
    found = []
    for light in sorted(name for name in imports if within(name, LIGHT)):
        todo, seen = [light], set()
        while todo:
            module = todo.pop()
            if module in seen:
                continue
            seen.add(module)
            reached = imports.get(module, set())
            for name in sorted(reached):
                if within(name, ("torch", "online_models")):
                    found.append(f"light module {light} reaches {name} by {module}")
            todo += [part for name in {module, *reached} for part in with_parents(name) if part in imports]
    return found


def with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: length + 1]) for length in range(len(parts))]


def within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
