"""A state that has left its owner: a tree of plain values, flat arrays for a file, and one digest of all of it.

Whatever learns has ``state()``, which returns a copy, and ``load(state)``, which takes one over (see
``state_reader.py``). What is saved is what is in use and not what happens to be allocated, so that two owners that saw
the same events have equal states.
"""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias, Union

import numpy as np
import numpy.typing as npt

from online_models.errors import StateError

__all__ = ["Leaf", "State", "digest", "flatten", "is_finite", "unflatten"]

Array = npt.NDArray[np.generic]
Leaf: TypeAlias = Array | list[str] | str | bytes | bool | int | float
State: TypeAlias = Mapping[str, Union[Leaf, "State"]]
"""Names to values. A name is not empty and holds neither slash, colon nor white space; an array holds truth values or
numbers; a whole number fits 64 bits with a sign."""

_PATH = "/"
_KIND = ":"
"""Between a name and what kind of value its arrays stand for; an array of ours has no such mark."""
_SCALARS = {"bool": np.bool_, "int": np.int64, "float": np.float64}
_SURROGATES = "surrogatepass"
"""JSON can smuggle half a character into an id; that must not stop a state from being saved."""


def flatten(state: State) -> dict[str, Array]:
    """Return all leaves as named arrays, in sorted order of their names; arrays are not copied."""
    flat: dict[str, Array] = {}
    _flatten(state, "", flat)
    return dict(sorted(flat.items()))


def _flatten(state: State, prefix: str, flat: dict[str, Array]) -> None:
    for name, value in state.items():
        assert _is_name(name), f"state: bad name {name!r} below {prefix!r}"
        path = prefix + name
        if isinstance(value, Mapping):
            _flatten(value, path + _PATH, flat)
            if not value:  # an owner without anything to remember is still a part
                flat[f"{path}{_KIND}parts"] = np.empty(0, np.uint8)
        elif isinstance(value, np.ndarray):
            assert _is_plain(value), f"state: {path} is of {value.dtype}"
            flat[path] = value if value.flags.c_contiguous else np.ascontiguousarray(value)
        elif isinstance(value, list):
            texts = [text.encode("utf-8", _SURROGATES) for text in value]
            flat[f"{path}{_KIND}texts"] = np.frombuffer(b"".join(texts), np.uint8)
            flat[f"{path}{_KIND}ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
        else:
            kind, array = _scalar(path, value)
            flat[f"{path}{_KIND}{kind}"] = array


def _scalar(path: str, value: object) -> tuple[str, Array]:
    if isinstance(value, str):
        return "text", np.frombuffer(value.encode("utf-8", _SURROGATES), np.uint8)
    if isinstance(value, bytes):
        return "bytes", np.frombuffer(value, np.uint8)
    if isinstance(value, bool):
        return "bool", np.array([value], np.bool_)
    if isinstance(value, int):
        return "int", np.array([value], np.int64)
    assert isinstance(value, float), f"state: {path} is a {type(value).__name__}"
    return "float", np.array([value], np.float64)


def unflatten(flat: Mapping[str, Array]) -> State:
    """Return the tree that ``flatten`` made these arrays of; arrays are not copied.

    Raises:
        StateError: they were made of no state.
    """
    state: dict[str, Leaf | State] = {}
    for path, array in flat.items():
        branch, _, last = path.rpartition(_PATH)
        name, mark, kind = last.partition(_KIND)
        names = [*branch.split(_PATH), name] if branch or path.startswith(_PATH) else [name]
        if not all(map(_is_name, names)) or (mark and not kind):
            raise StateError(f"{path}: expected names between slashes and one kind, got an empty or a bad one")
        if not isinstance(array, np.ndarray) or not _is_plain(array):
            raise StateError(f"{path}: expected an array of numbers, got {getattr(array, 'dtype', type(array))}")
        if kind == "ends":
            if f"{path.removesuffix('ends')}texts" not in flat:
                raise StateError(f"{path}: expected the texts that end there, got none")
            continue
        ends = flat.get(f"{path.removesuffix('texts')}ends") if kind == "texts" else None
        _put(state, path, names, _parsed(path, kind, array, ends))
    return state


def _put(state: dict[str, Leaf | State], path: str, names: list[str], value: Leaf | State) -> None:
    for name in names[:-1]:
        inner = state.setdefault(name, {})
        if not isinstance(inner, dict):
            raise StateError(f"{path}: expected to be below parts, got a value at {name}")
        state = inner
    if names[-1] in state:
        raise StateError(f"{path}: expected one value of this name, got another one too")
    state[names[-1]] = value


def _parsed(path: str, kind: str, array: Array, ends: Array | None) -> Leaf | State:
    if not kind:
        return array
    if kind in _SCALARS:
        _check(path, array, _SCALARS[kind], (1,))
        value: bool | int | float = array[0].item()
        return value
    if kind not in ("texts", "text", "bytes", "parts"):
        raise StateError(f"{path}: expected a kind of value that is known, got {kind}")
    _check(path, array, np.uint8, (0,) if kind == "parts" else (array.size,))
    if kind == "parts":
        return {}
    if kind == "bytes":
        return array.tobytes()
    if kind == "text":
        return _decoded(path, array.tobytes(), [0, array.size])[0]
    if ends is None:
        raise StateError(f"{path}: expected to be told where each text ends, got nothing")
    _check(f"{path.removesuffix('texts')}ends", ends, np.int64, (ends.size,))
    bounds = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    if bounds[-1] != array.size or (bounds[1:] < bounds[:-1]).any():
        raise StateError(f"{path}: expected ends that rise to {array.size}, got others")
    return _decoded(path, array.tobytes(), bounds.tolist())


def _decoded(path: str, joined: bytes, bounds: list[int]) -> list[str]:
    try:
        return [joined[start:stop].decode("utf-8", _SURROGATES) for start, stop in pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise StateError(f"{path}: expected UTF-8, got {error.object[error.start : error.end]!r}") from None


def _check(path: str, array: Array, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise StateError(f"{path}: expected {np.dtype(dtype)} {list(shape)}, got {got}")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and not any(c in "/:" or c.isspace() for c in name)


def _is_plain(array: Array) -> bool:
    return array.dtype.kind in "biuf"


def digest(state: State) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of everything in ``state``, as 64 hex digits.

    Numbers are taken in little-endian order, so the digest is the same on every machine. Bits count, not values: 0.0
    and -0.0 differ, and a NaN equals itself.
    """
    whole = hashlib.sha256()
    for path, array in flatten(state).items():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        whole.update(f"{path} {array.dtype.str[1:]} {list(array.shape)}\n".encode("utf-8", _SURROGATES))
        whole.update(little.reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def is_finite(state: State) -> bool:
    """Return whether no number in ``state`` is NaN or infinite."""
    return all(bool(np.isfinite(array).all()) for array in flatten(state).values() if array.dtype.kind == "f")
