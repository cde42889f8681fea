"""Is the right software installed, and is there a device for the model?"""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from millstream.diagnosis.findings import Finding, error, ok
from stream.config.settings import Settings

__all__ = ["software_findings"]

OLDEST_PYTHON = (3, 11)
SHOWN = ("millstream", "torch", "numpy", "kafka-python", "river", "pydantic")


def software_findings(settings: Settings) -> list[Finding]:
    """Return what was found of Python, of the packages that Millstream needs, and of the device."""
    findings = [_python(), *_packages(requires("millstream") or [])]
    if not any(finding.fix for finding in findings):
        findings.append(ok("packages", ", ".join(f"{name} {version(name)}" for name in SHOWN)))
        findings.append(_device(settings))
    return findings


def _python() -> Finding:
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return error("python", f"expected {wanted} or newer, got {platform.python_version()}", f"install {wanted}")
    return ok("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages(requirements: list[str]) -> list[Finding]:
    """Return what is missing, and what is pinned to another version than the one that is there."""
    findings = []
    for requirement in requirements:
        needed = re.match(r"([A-Za-z0-9._-]+)\s*(?:==\s*([^\s;,]+))?", requirement)
        if needed is None or "extra ==" in requirement:
            continue
        name, pinned = needed.groups()
        try:
            there = version(name)
        except PackageNotFoundError:
            findings.append(error("packages", f"{name} is not installed", f"pip install '{requirement}'"))
            continue
        if pinned is not None and there != pinned:
            message = f"{name}: expected exactly {pinned}, got {there}: exactly once rests on its behaviour"
            findings.append(error("packages", message, f"pip install '{name}=={pinned}'"))
    return findings


def _device(settings: Settings) -> Finding:
    from online_models import ConfigError, resolve_device  # torch is loaded only when all of it is there

    wanted = settings.model.device
    try:
        device = resolve_device(wanted)
    except ConfigError as refused:
        return error("device", f"model.{refused}", "set model.device = auto or cpu, or repair the driver")
    return ok("device", f"{device.type} (model.device = {wanted}), {settings.model.cpu_threads or 'all'} CPU threads")
