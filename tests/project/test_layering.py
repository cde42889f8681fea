"""Imports point down: between packages, between the rooms of a package, and to the one home of an outside dependency.

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

FLOORS = {
    "stream": (
        ("errors", "failpoints", "versions"),
        ("wire",),
        ("config",),
        ("logs",),
        ("catalogue",),
        ("log", "ingest"),
        ("publish", "cluster", "feedback"),
        ("learning",),
        ("privacy",),
        ("durability",),
        ("pipeline",),
        ("telemetry",),
        ("http", "checkpoint_schedule"),
        ("worker",),
    ),
    "online_models": (
        ("errors",),
        ("tables", "runtime"),
        ("batch", "config", "optim", "ids", "scores"),
        ("users", "evaluation", "features", "private"),
        ("scorers", "slate"),
        ("retrieval",),
        ("ranking",),
        ("learner",),
        ("distributed", "compressed"),
    ),
    "millstream": (
        ("terminal", "dashboard", "settings_reference", "dead_letter_redrive"),
        ("diagnosis",),
        ("local",),
        ("commands",),
        ("main",),
        ("__main__",),
    ),
    "producers": (
        ("event_encoding", "pacing", "shutdown", "item_titles", "list_subscription", "data"),
        ("event_sender", "files", "simulator"),
    ),
}
"""Package to its floors, the lowest first. A room is a folder or a file of the package's root. It may import itself and
what is on lower floors; rooms of one floor do not know each other. A room that is not here is a violation."""

APART = (("stream.http.page", "stream.http.api"),)
"""Rooms inside one room that do not know each other: the page is the worker's, the API a process of its own."""

SCORERS, EVERY_SCORER_MAY_IMPORT = "online_models.scorers", ("protocol", "item_neighbours")
"""Every scorer is a ``Scorer``; three share one table of the neighbours of an item, each with a policy of its own."""
REGISTRY = "registry"
"""The one file that knows all scorers. A scorer is a file beside it, or a folder."""

WIRE = ("stream.errors", "stream.wire", "stream.config", "stream.log.kafka")

LIGHT = (*WIRE, "stream.http.api")
"""What loads neither torch nor the model: those above, and the HTTP server, which is a process of its own."""

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


@pytest.mark.slow
def test_the_light_modules_and_the_producers_leave_torch_and_the_model_unloaded() -> None:
    light = [name for name in imports_of_tree(ROOT) if within(name, (*LIGHT, "producers"))]
    program = (
        f"import sys, {', '.join(light)}\n"
        "print([name for name in ('torch', 'online_models', 'river', 'millstream') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


BROKEN_TREES = {
    "the model imports the stream": (
        {"online_models/learner.py": "from stream import errors"},
        "online_models.learner imports stream.errors",
    ),
    "the model imports an outside package that is not torch or numpy": (
        {"online_models/learner.py": "import river.drift"},
        "online_models.learner imports river.drift",
    ),
    "the stream imports the producers, for types only": (
        {
            "stream/logs.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import producers",
            "producers/__init__.py": "",
        },
        "stream.logs imports producers",
    ),
    "the stream imports the command, inside a function": (
        {"stream/logs.py": "def late():\n    from millstream import main", "millstream/main.py": ""},
        "stream.logs imports millstream.main",
    ),
    "the producers import more of the stream than the wire": (
        {"producers/pacing.py": "from stream.pipeline import Pipeline", "stream/pipeline.py": ""},
        "producers.pacing imports stream.pipeline",
    ),
    "the producers import more of the log than Kafka": (
        {"producers/pacing.py": "from stream.log.memory import MemoryLog", "stream/log/memory.py": ""},
        "producers.pacing imports stream.log.memory",
    ),
    "the producers import the model": (
        {"producers/pacing.py": "import online_models.batch", "online_models/batch.py": ""},
        "producers.pacing imports online_models.batch",
    ),
    "a room imports one of a higher floor": (
        {"stream/wire/records.py": "from stream.learning.worker_state import State", "stream/learning/__init__.py": ""},
        "stream.wire.records imports stream.learning.worker_state: wire is below learning",
    ),
    "a room imports one of a higher floor, inside a function": (
        {
            "online_models/tables/decay.py": "def late():\n    from online_models.ranking import fusion",
            "online_models/ranking/fusion.py": "",
        },
        "online_models.tables.decay imports online_models.ranking.fusion: tables is below ranking",
    ),
    "a file of the root imports a room of a higher floor": (
        {"stream/publish.py": "import stream.durability.journal", "stream/durability/journal.py": ""},
        "stream.publish imports stream.durability.journal: publish is below durability",
    ),
    "a room imports a file of the root on a higher floor": (
        {"stream/ingest/decode.py": "from .. import publish", "stream/publish.py": ""},
        "stream.ingest.decode imports stream.publish: ingest is below publish",
    ),
    "two rooms of one floor know each other": (
        {"stream/log/memory.py": "from stream.ingest.decode import decode", "stream/ingest/decode.py": ""},
        "stream.log.memory imports stream.ingest.decode: log and ingest are on one floor",
    ),
    "two files of one floor know each other": (
        {"producers/pacing.py": "from producers.shutdown import Stop", "producers/shutdown.py": ""},
        "producers.pacing imports producers.shutdown: pacing and shutdown are on one floor",
    ),
    "a room imports its package, which imports the room": (
        {
            "online_models/__init__.py": "from online_models.batch import A",
            "online_models/learner.py": "import online_models",
        },
        "online_models.learner imports online_models: a room takes names from rooms",
    ),
    "a room takes a name from its package, which imports the room": (
        {"online_models/__init__.py": "", "online_models/learner.py": "from online_models import NO_ROW"},
        "online_models.learner imports online_models.NO_ROW: online_models.NO_ROW is no room",
    ),
    "a folder was added without a floor": (
        {"stream/helpers/text.py": "import re"},
        "stream.helpers.text: stream.helpers is no room of FLOORS",
    ),
    "a file was added without a floor": (
        {"millstream/extra.py": ""},
        "millstream.extra: millstream.extra is no room of FLOORS",
    ),
    "the page imports the API": (
        {"stream/http/page/page.py": "from stream.http.api.tokens import Tokens", "stream/http/api/tokens.py": ""},
        "stream.http.page.page imports stream.http.api.tokens",
    ),
    "the API imports the page": (
        {"stream/http/api/app.py": "from stream.http import page", "stream/http/page/__init__.py": ""},
        "stream.http.api.app imports stream.http.page",
    ),
    "a scorer imports another": (
        {
            "online_models/scorers/recency.py": "from online_models.scorers.popularity import Popularity",
            "online_models/scorers/popularity.py": "",
        },
        "online_models.scorers.recency imports online_models.scorers.popularity: no scorer imports another",
    ),
    "a file of a scorer with a folder imports another scorer": (
        {
            "online_models/scorers/sequence/encoder.py": "from online_models.scorers import popularity",
            "online_models/scorers/popularity.py": "",
        },
        "online_models.scorers.sequence.encoder imports online_models.scorers.popularity: no scorer imports another",
    ),
    "a scorer imports a file of a scorer with a folder": (
        {
            "online_models/scorers/recency.py": "from online_models.scorers.sequence.gru import run_gru",
            "online_models/scorers/sequence/gru.py": "",
        },
        "online_models.scorers.recency imports online_models.scorers.sequence.gru: no scorer imports another",
    ),
    "a scorer imports the registry": (
        {
            "online_models/scorers/recency.py": "from online_models.scorers.registry import SCORERS",
            "online_models/scorers/registry.py": "",
        },
        "online_models.scorers.recency imports online_models.scorers.registry: no scorer imports another",
    ),
    "the stream reaches into a room of the model": (
        {"stream/pipeline.py": "from online_models.tables.decay import Scale", "online_models/tables/decay.py": ""},
        "stream.pipeline imports online_models.tables.decay: only names of online_models itself",
    ),
    "the command reaches into a file of the model, inside a function": (
        {"millstream/main.py": "def late():\n    from online_models import errors", "online_models/errors.py": ""},
        "millstream.main imports online_models.errors: only names of online_models itself",
    ),
    "a wire module reaches the model through another module": (
        {"stream/wire/records.py": "from . import batch", "stream/wire/batch.py": "import online_models"},
        "light module stream.wire.records reaches online_models by stream.wire.batch",
    ),
    "the HTTP server reaches the model through another module": (
        {"stream/http/api/app.py": "from stream.http import feed", "stream/http/feed.py": "import online_models"},
        "light module stream.http.api.app reaches online_models by stream.http.feed",
    ),
    "a wire module reaches torch through its package": (
        {"stream/__init__.py": "import torch", "stream/errors.py": ""},
        "light module stream.errors reaches torch by stream",
    ),
    "the Kafka client reaches the model through the room that it is in": (
        {"stream/log/__init__.py": "import online_models", "stream/log/kafka/client.py": ""},
        "light module stream.log.kafka.client reaches online_models by stream.log",
    ),
    "the Kafka client is imported outside its home": (
        {"stream/log/memory.py": "from kafka.errors import KafkaError"},
        "stream.log.memory imports kafka.errors",
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
            "online_models/tables/select.py": "import math, numpy as np\nfrom torch import nn",
            "online_models/retrieval/exact.py": "from online_models.tables import select",
            "online_models/scorers/__init__.py": "",
            "online_models/scorers/protocol.py": "",
            "online_models/scorers/item_neighbours.py": "from online_models.scorers.protocol import Scorer",
            "online_models/scorers/cooccurrence.py": "from online_models.scorers.item_neighbours import norms",
            "online_models/scorers/sequence/gru.py": "",
            "online_models/scorers/sequence/scorer.py": "from online_models.scorers.sequence.gru import run_gru",
            "online_models/scorers/registry.py": "from online_models.scorers import cooccurrence, sequence",
            "stream/errors.py": "",
            "stream/wire/schema.py": "import msgspec",
            "stream/config/settings.py": "import pydantic\nfrom stream.wire import schema",
            "stream/log/kafka/client.py": "import kafka\nfrom stream.config.settings import KafkaSettings",
            "stream/log/memory.py": "from stream.log.kafka import client",
            "stream/pipeline.py": "from online_models import best\nimport online_models",
            "stream/telemetry/metrics.py": "import prometheus_client\nfrom stream import pipeline",
            "stream/http/page/page.py": "from stream.telemetry.metrics import Metrics",
            "producers/event_sender.py": "from stream.log.kafka.client import connect\nfrom stream.wire import schema",
            "millstream/main.py": "import stream.pipeline, producers.event_sender",
            "millstream/__main__.py": "from millstream.main import main",
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
    direct = [
        f"{module} imports {name}: {why}"
        for module in sorted(imports)
        for name in sorted(imports[module])
        for why in (*judge(module, name), *judge_rooms(module, name), *judge_reach(module, name, set(imports)))
    ]
    return [*unplaced(imports), *direct, *light_violations(imports)]


def judge(module: str, name: str) -> Iterable[str]:
    """Yield what is wrong between packages: ours, and those of others."""
    package, target = module.partition(".")[0], name.partition(".")[0]
    is_outside = target not in PACKAGES and target not in sys.stdlib_module_names
    if target in PACKAGES and not within(name, MAY_IMPORT_OF_OURS[package]):
        yield f"{package} may import only {', '.join(MAY_IMPORT_OF_OURS[package])} of ours"
    elif target in HOMES and not within(module, HOMES[target]):
        yield f"only {', '.join(HOMES[target])} may"
    elif package == "online_models" and is_outside and target not in MODEL_MAY_IMPORT:
        yield f"online_models may import only {', '.join(MODEL_MAY_IMPORT)} and the standard library"


def judge_reach(module: str, name: str, modules: set[str]) -> Iterable[str]:
    """Yield what is wrong where a package takes from the model what the model does not export."""
    is_inside = name.startswith("online_models.") and (name in modules or name.count(".") > 1)
    if is_inside and not within(module, ("online_models",)):
        yield "only names of online_models itself, not of its rooms"


def judge_rooms(module: str, name: str) -> Iterable[str]:
    """Yield what is wrong inside one package: between its rooms, and inside those that have a rule of their own."""
    (package, room), (other_package, target) = room_of(module), room_of(name)
    if other_package != package or not room:  # nothing of ours, or the package's own `__init__`
        return
    floors = {room: height for height, rooms in enumerate(FLOORS[package]) for room in rooms}
    if not target:
        yield "a room takes names from rooms, not from the package that puts them together"
    elif target not in floors:
        yield f"{package}.{target} is no room of FLOORS"
    elif room in floors and room != target and floors[room] <= floors[target]:
        same = floors[room] == floors[target]
        yield f"{room} and {target} are on one floor" if same else f"{room} is below {target}"
    for one, other in APART:
        if (within(module, (one,)) and within(name, (other,))) or (within(module, (other,)) and within(name, (one,))):
            yield f"{one} and {other} do not know each other"
    if within(module, (SCORERS,)) and within(name, (SCORERS,)):
        yield from judge_scorers(module, name)


def judge_scorers(module: str, name: str) -> Iterable[str]:
    depth = len(SCORERS.split("."))
    scorer, other = ("".join(full.split(".")[depth : depth + 1]) for full in (module, name))
    is_free = scorer in ("", REGISTRY, other) or other in ("", *EVERY_SCORER_MAY_IMPORT)
    if not is_free:
        yield f"no scorer imports another, {REGISTRY} alone knows them all"


def unplaced(imports: dict[str, set[str]]) -> list[str]:
    """Return one line for each module whose room has no floor: nobody adds a room without placing it."""
    found = []
    for module in sorted(imports):
        package, room = room_of(module)
        if room and not any(room in floor for floor in FLOORS[package]):
            found.append(f"{module}: {package}.{room} is no room of FLOORS")
    return found


def room_of(name: str) -> tuple[str, str]:
    """Return the package and the room of a dotted name; the room of the package itself is empty."""
    package, _, rest = name.partition(".")
    return package, rest.partition(".")[0]


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
