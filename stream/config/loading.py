"""Loading the settings: a TOML file, overridden by the environment, overridden by flags.

Only this module reads the environment. Every value keeps where it came from, so that an error and `millstream config`
can say it.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.wire.text_encoding import read_text

__all__ = ["CONFIG_VARIABLE", "ENV_PREFIX", "HIDDEN", "LoadedConfig", "SettingLine", "load_config", "setting_fields"]

ENV_PREFIX = "MILLSTREAM_"
CONFIG_VARIABLE = "MILLSTREAM_CONFIG"
"""Environment variable that names the settings file when no flag does."""
HIDDEN = "********"
"""What is shown in place of a secret."""
_SERVICE_LINK = re.compile(r"MILLSTREAM_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_\w+)?)")
"""Variables that Kubernetes sets in every pod beside a service called millstream."""

_LOGIN = re.compile(r"(://)[^/]*@")
"""User and password in a URL, as in `ftp://ana:secret@host/path`; the last @ ends them, as in what opens it."""


_FORMS = {"kafka.bootstrap_servers": "expected host:port, or several as host:port,host:port"}
_NAME_FORM = "expected letters, digits, dots, dashes and underlines"
"""What people are told in place of a pattern: topics and identities have the same letters."""


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One effective setting: `section.key`, its value with secrets hidden, where it came from, what it is for."""

    name: str
    value: Any
    origin: str
    description: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The effective settings and the origin of each value that is not a default."""

    settings: Settings
    origins: Mapping[str, str]

    def lines(self) -> list[SettingLine]:
        """Return every setting in the order of the sections."""
        return [
            SettingLine(name, _shown(self._value(name)), self.origins.get(name, "default"), field.description or "")
            for name, field in setting_fields()
        ]

    def _value(self, name: str) -> Any:
        section, key = name.split(".")
        return getattr(getattr(self.settings, section), key)


def setting_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield `section.key` and the field of every setting."""
    for section, field in Settings.model_fields.items():
        assert field.annotation is not None
        for key, inner in field.annotation.model_fields.items():
            yield f"{section}.{key}", inner


def load_config(
    path: Path | None = None, flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> LoadedConfig:
    """Return the effective settings.

    Args:
        path: the settings file; None: the one that `MILLSTREAM_CONFIG` names, if any.
        flags: `section.key` to text, from the command line; they win.
        environ: the environment; None: that of the process.

    Raises:
        ConfigError: a file that cannot be read, an unknown key (the nearest known one is named), a value out of range,
            a secret on the command line.
    """
    environ = os.environ if environ is None else environ
    path = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, source in (*_file_source(path), *_env_source(environ), *_flag_source(flags or {})):
        values |= source
        origins |= dict.fromkeys(source, origin)
    return LoadedConfig(_validated(values, origins), origins)


def _file_source(path: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if path is None:
        return
    try:
        document = tomllib.loads(read_text(path).replace("\r\n", "\n"))
    except OSError as error:
        raise ConfigError(f"settings file {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file {path}: expected TOML: {error}") from error
    flat: dict[str, Any] = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            raise ConfigError(f"settings file {path}: {section}: expected a table such as [batching], got a value")
        for key, value in table.items():
            name = f"{section}.{key}"
            _check_known(name, f"settings file {path}")
            if isinstance(value, bool) and dict(setting_fields())[name].annotation is not bool:
                raise ConfigError(f"settings file {path}: {name}: expected no true or false, got {str(value).lower()}")
            flat[name] = value
    yield f"file {path}", flat


def _env_source(environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    by_variable = {_variable(name): (name, field) for name, field in setting_fields()}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if variable not in by_variable:
            if _SERVICE_LINK.fullmatch(variable):
                continue
            raise ConfigError(f"environment: {variable} is no setting{_nearest(variable, list(by_variable))}")
        name, field = by_variable[variable]
        yield f"environment {variable}", {name: _from_text(field, text)}


def _flag_source(flags: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    fields = dict(setting_fields())
    for name, text in flags.items():
        _check_known(name, "command line")
        if _is_secret(fields[name]):
            raise ConfigError(
                f"command line: {name} is a secret and would show in the process list: set {_variable(name)}, "
                f"or {name}_file to a file that holds it"
            )
        yield "flag", {name: _from_text(fields[name], text)}


def _validated(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    tree: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, key = name.split(".")
        tree.setdefault(section, {})[key] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(problem, origins) for problem in error.errors())) from None


def _problem(problem: Any, origins: Mapping[str, str]) -> str:
    name = ".".join(str(part) for part in problem["loc"][:2])
    is_form = problem["type"] == "string_pattern_mismatch"
    message = _FORMS.get(name, _NAME_FORM) if is_form else problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    fields = dict(setting_fields())
    if name not in fields:  # a rule between settings names them itself
        return f"{name + '.' if name else ''}{message}"
    got = HIDDEN if _is_secret(fields[name]) else repr(problem["input"])
    return f"{name}: {message}, got {got} (from {origins.get(name, 'default')})"


def _check_known(name: str, where: str) -> None:
    known = [known_name for known_name, _ in setting_fields()]
    if name not in known:
        raise ConfigError(f"{where}: {name} is no setting{_nearest(name, known)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest one is {close[0]}. 'millstream config' lists all" if close else ""


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", "_").upper()


def _from_text(field: FieldInfo, text: str) -> Any:
    if not text and field.default is None:
        return None
    if get_origin(field.annotation) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and _LOGIN.search(value):
        return _LOGIN.sub(rf"\g<1>{HIDDEN}@", value)
    return list(value) if isinstance(value, tuple) else value
