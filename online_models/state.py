"""A state that has left its owner: a tree of plain values, flat arrays for a file, and one digest of all of it.

Whatever learns has ``state()``, which returns a copy, and ``load(state)``, which takes one over. What is saved is what
is in use and not what happens to be allocated, so that two owners that saw the same events have equal states.
"""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias, Union

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.errors import StateError

__all__ = ["Leaf", "State", "copied", "digest", "flatten", "is_finite", "unflatten"]

Array = npt.NDArray[np.generic]
Leaf: TypeAlias = Array | list[str] | str | bytes | bool | int | float
State: TypeAlias = Mapping[str, Union[Leaf, "State"]]
"""Names (no slash, no colon) to values; whole numbers fit 64 bits with a sign."""

_PATH = "/"
_KIND = ":"
"""Between a name and what kind of value its arrays stand for; an array of ours has no such mark."""


def copied(tensor: Tensor) -> Array:
    """Return the values of ``tensor`` in host memory of their own."""
    array: Array = tensor.detach().to("cpu", copy=True).numpy()
    return array


def flatten(state: State) -> dict[str, Array]:
    """Return all leaves as named arrays, in sorted order of their names; arrays are not copied."""
    flat: dict[str, Array] = {}
    _flatten(state, "", flat)
    return dict(sorted(flat.items()))


def _flatten(state: State, prefix: str, flat: dict[str, Array]) -> None:
    for name, value in state.items():
        assert not {_PATH, _KIND} & set(name), f"state: bad name {name!r}"
        path = prefix + name
        if isinstance(value, Mapping):
            _flatten(value, path + _PATH, flat)
        elif isinstance(value, np.ndarray):
            flat[path] = np.ascontiguousarray(value)
        elif isinstance(value, list):
            texts = [text.encode("utf-8") for text in value]
            flat[f"{path}{_KIND}texts"] = np.frombuffer(b"".join(texts), np.uint8)
            flat[f"{path}{_KIND}ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
        else:
            kind, array = _scalar(value)
            flat[f"{path}{_KIND}{kind}"] = array


def _scalar(value: str | bytes | bool | int | float) -> tuple[str, Array]:
    if isinstance(value, str):
        return "text", np.frombuffer(value.encode("utf-8"), np.uint8)
    if isinstance(value, bytes):
        return "bytes", np.frombuffer(value, np.uint8)
    if isinstance(value, bool):
        return "bool", np.array([value], np.bool_)
    if isinstance(value, int):
        return "int", np.array([value], np.int64)
    return "float", np.array([value], np.float64)


def unflatten(flat: Mapping[str, Array]) -> State:
    """Return the tree that ``flatten`` made these arrays of.

    Raises:
        StateError: they were made of no state.
    """
    state: dict[str, Leaf | State] = {}
    for path, array in flat.items():
        branch, _, last = path.rpartition(_PATH)
        name, _, kind = last.partition(_KIND)
        if kind == "ends":
            continue
        place: dict[str, Leaf | State] = state
        for part in branch.split(_PATH) if branch else ():
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise StateError(f"state: {path} is below a value")
            place = inner
        ends = flat.get(f"{path.removesuffix('texts')}ends") if kind == "texts" else None
        place[name] = _leaf(path, kind, array, ends)
    return state


def _leaf(path: str, kind: str, array: Array, ends: Array | None) -> Leaf:
    if not kind:
        return array
    if kind in ("bool", "int", "float") and array.shape != (1,):
        raise StateError(f"state: {path}: expected one value, got {list(array.shape)}")
    match kind:
        case "texts" if ends is not None:
            joined, starts = array.tobytes(), [0, *ends.tolist()]
            return [joined[a:b].decode("utf-8") for a, b in pairwise(starts)]
        case "text":
            return array.tobytes().decode("utf-8")
        case "bytes":
            return array.tobytes()
        case "bool":
            return bool(array[0])
        case "int":
            return int(array[0])
        case "float":
            return float(array[0])
    raise StateError(f"state: {path}: a value of an unknown kind")


def digest(state: State) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of everything in ``state``, as 64 hex digits."""
    whole = hashlib.sha256()
    for path, array in flatten(state).items():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        whole.update(f"{path} {array.dtype.str[1:]} {list(array.shape)}\n".encode())
        whole.update(little.reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def is_finite(state: State) -> bool:
    """Return whether no number in ``state`` is NaN or infinite."""
    arrays = (array for array in flatten(state).values() if np.issubdtype(array.dtype, np.floating))
    return all(bool(torch.isfinite(torch.from_numpy(array)).all()) for array in arrays)
