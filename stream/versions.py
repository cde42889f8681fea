"""The versions of this process: read once, when it starts.

A package may be upgraded, or its folder be away, beside a process that runs. What is installed then is not what
computes here, and a question for it could fail.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

__all__ = ["VERSIONS"]

_TOLD = ("millstream", "torch", "numpy", "river", "kafka-python")
"""Packages whose versions are published, saved or shown."""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a part of Millstream that is used without it
        return "none"


VERSIONS: Mapping[str, str] = MappingProxyType({name: _version(name) for name in _TOLD})
"""Package to its version when this process began."""
