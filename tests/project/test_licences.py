"""docs/licences.md names what is installed with the package and what data it bundles, with the licence of each."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/licences.md"
NAME = re.compile(r"[A-Za-z0-9._-]+")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(package: Distribution) -> str:
    """Return what the metadata says, in its shortest form."""
    metadata = package.metadata
    text = metadata.get("License-Expression") or ""
    classifiers = [one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier", []) if one.startswith("License")]
    return text or ", ".join(classifiers) or (metadata.get("License") or "").partition("\n")[0]


def installed(name: str, extra: str = "") -> dict[str, str]:
    """Return each package that comes with this one, by its plain name, and its licence."""
    found: dict[str, str] = {}
    waiting = [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        for wanted in distribution(name).requires or []:
            needed = NAME.match(wanted)
            if needed is None or ("extra ==" in wanted and (not extra or extra not in wanted.partition("extra ==")[2])):
                continue
            try:
                package = distribution(needed[0])
            except PackageNotFoundError:  # of another system
                continue
            if plain(needed[0]) not in found:
                found[plain(needed[0])] = licence_of(package)
                waiting.append((needed[0], ""))
    return found


def listed() -> dict[str, str]:
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def test_everything_that_is_installed_with_it_is_listed_with_its_licence() -> None:
    pinned = {plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    found = {name: licence for name, licence in installed("millstream", "broker").items() if name in pinned}

    assert {"kafka-python", "torch", "noida-db"} <= set(found)
    assert {name: listed().get(name, "not listed") for name in found} == found


def test_every_bundled_data_set_is_listed_with_the_licence_of_its_readme() -> None:
    page = PAGE.read_text(encoding="utf-8")
    folders = [path.parent for path in (ROOT / "producers/data").rglob("events.parquet")]

    assert len(folders) == 2
    for folder in folders:
        line = next(line for line in page.splitlines() if f"`{folder.relative_to(ROOT)}`" in line)
        assert "CC BY 4.0" in line
        assert "CC BY 4.0" in (folder / "README.md").read_text(encoding="utf-8")
