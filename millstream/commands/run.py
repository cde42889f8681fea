"""`millstream run`: the worker."""

import logging
from typing import Annotated

import typer

from millstream.terminal.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, settings_from
from producers.shutdown import stop_on_signals
from stream.errors import ConfigError
from stream.logs import configure_logs, log_event

__all__ = ["run"]

_PANEL = "What to start from (by default: the newest checkpoint, and what was learned after it)"

FromBeginningOption = Annotated[
    bool,
    typer.Option(
        "--from-beginning",
        help="Make a new model: re-learn the journalled batches that are whole in the log, with the settings of now. "
        "Nothing is published meanwhile; lists stay as they are until their user's next event.",
        rich_help_panel=_PANEL,
    ),
]
FromCheckpointOption = Annotated[
    int | None,
    typer.Option(
        "--from-checkpoint",
        metavar="EPOCH",
        help="Take the checkpoint of this epoch, not the newest, and re-learn what came after it. Nothing is "
        "published meanwhile.",
        rich_help_panel=_PANEL,
    ),
]
ColdOption = Annotated[
    bool,
    typer.Option(
        "--cold",
        help="Begin with an untrained model at the committed offsets. What it had learned is not used again.",
        rich_help_panel=_PANEL,
    ),
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-difference",
        help="Go on although what was re-learned is not bit for bit what was published from.",
        rich_help_panel=_PANEL,
    ),
]
AcceptModelChangeOption = Annotated[
    bool,
    typer.Option(
        "--accept-model-change",
        help="Go on from the newest commit although settings or a version that decide what is learned have changed "
        "since. The journal tells from which epoch on.",
        rich_help_panel=_PANEL,
    ),
]


def run(
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    device: DeviceOption = None,
    from_beginning: FromBeginningOption = False,
    from_checkpoint: FromCheckpointOption = None,
    cold: ColdOption = False,
    accept_difference: AcceptOption = False,
    accept_model_change: AcceptModelChangeOption = False,
) -> None:
    """Learn from the events topic and publish fresh lists, until Ctrl-C or SIGTERM.

    Every micro-batch is one Kafka transaction: its lists, its dead letters, its journal record and its offsets become
    visible together or not at all. One worker per worker.transactional_id: a second one takes over. A restart rebuilds
    the model bit for bit from the newest checkpoint and the journal.
    """
    if (from_beginning, from_checkpoint is not None, cold).count(True) > 1:
        raise ConfigError("expected at most one of --from-beginning, --from-checkpoint and --cold")
    settings = settings_from(config, set_, bootstrap_servers, device)
    configure_logs(settings.log)
    with stop_on_signals(_say_stopping) as flag:
        flag.may_leave_at_once = True  # while it starts; from then on the running batch is committed first
        from online_models import keep_freed_memory
        from stream.durability.start_point import Beginning, Kind
        from stream.http.connections import raise_descriptor_limit
        from stream.worker import Worker  # torch is loaded only by the command that needs it

        keep_freed_memory()
        raise_descriptor_limit()
        kind: Kind = "beginning" if from_beginning else "cold" if cold else "newest"
        if from_checkpoint is not None:
            kind = "checkpoint"
        worker = Worker(settings, Beginning(kind, from_checkpoint or 0, accept_difference, accept_model_change))
        flag.may_leave_at_once = False
        worker.run(lambda: flag.is_set)


def _say_stopping() -> None:
    log_event(logging.INFO, "stopping", hint="the running batch is committed first; Ctrl-C again leaves at once")
