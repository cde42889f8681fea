"""The options that commands share, and the way from them to the settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stream.config.loading import LoadedConfig, load_config, setting_fields
from stream.config.settings import Settings
from stream.errors import ConfigError

__all__ = [
    "BootstrapOption",
    "ConfigOption",
    "DeviceOption",
    "SetOption",
    "complete_setting",
    "loaded_from",
    "settings_from",
]

_PANEL = "Settings"


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """Return the settings that `--set` can go on with, each with its line of text, for the shell's completion."""
    return [
        (f"{name}=", field.description or "") for name, field in setting_fields() if name.startswith(incomplete.strip())
    ]


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file (TOML). Default: $MILLSTREAM_CONFIG.", rich_help_panel=_PANEL),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        autocompletion=complete_setting,
        help="Override one setting, as batching.max_events=256. Repeatable.",
        rich_help_panel=_PANEL,
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", "-b", help="Brokers: kafka.bootstrap_servers.", rich_help_panel=_PANEL),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda: model.device.", rich_help_panel=_PANEL)
]


def loaded_from(
    config: Path | None, set_: Sequence[str] | None, bootstrap_servers: str | None = None, device: str | None = None
) -> LoadedConfig:
    """Return the effective settings with their origins.

    Raises:
        ConfigError: see `stream.config.loading.load_config`.
    """
    flags: dict[str, str] = {}
    for text in set_ or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--set {text}: expected KEY=VALUE, as in --set batching.max_events=256")
        flags[name.strip()] = value
    if bootstrap_servers is not None:
        flags["kafka.bootstrap_servers"] = bootstrap_servers
    if device is not None:
        flags["model.device"] = device
    return load_config(config, flags)


def settings_from(
    config: Path | None, set_: Sequence[str] | None, bootstrap_servers: str | None = None, device: str | None = None
) -> Settings:
    """Return the effective settings.

    Raises:
        ConfigError: see `stream.config.loading.load_config`.
    """
    return loaded_from(config, set_, bootstrap_servers, device).settings
