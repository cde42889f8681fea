"""`millstream verify`: everything learned again from the log, and compared with all that is there."""

from typing import Annotated

import typer

from millstream.terminal.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, settings_from
from millstream.terminal.read_only import open_past, rows_of, say_remarks, showing_progress
from stream.errors import ConfigError

__all__ = ["verify"]


# More than six parameters: typer reads the options of a command from its parameters.
def verify(
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="Only from an untrained model before epoch 1; refuse if that is gone."),
    ] = False,
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="EPOCH", min=0, help="Trust the checkpoint of this epoch, and begin after it."),
    ] = None,
    until: Annotated[
        int | None, typer.Option(metavar="EPOCH", min=1, help="The last epoch to compare. Default: the newest now.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    device: DeviceOption = None,
) -> None:
    """Learn the whole log again and compare: journal, input records, lists, checkpoints, committed offsets.

    It begins as early as the log allows, and says where. "equal" means: every batch was learned once and without gap,
    and what was published and saved follows from the log, byte for byte. Where something does not, it says at which
    epoch they part, what was expected and what is there, and ends with exit code 10.

    It only reads, so it may run beside a worker; give it that worker's settings. It takes about as long as the worker
    took to learn, and as much memory.
    """
    if from_beginning and first is not None:
        raise ConfigError("--from-beginning and --from: expected at most one of them, got both")
    settings = settings_from(config, set_, bootstrap_servers, device)
    from stream.durability.verification import Verification  # torch is loaded only by the command that needs it

    with open_past(settings) as past, showing_progress() as progress:
        verification = Verification(
            settings, past.history, past.published, past.store, past.make_state, progress=progress
        )
        report = verification.run(0 if from_beginning else first, until)
    typer.echo(str(report))
    facts = {
        "began from": f"{report.start}: epochs {report.first_epoch:,} to {report.last_epoch:,}",
        "lists": f"{report.num_lists_there:,} of {report.num_lists:,} are still in {settings.topics.recommendations}",
        "offsets": f"those of group {settings.worker.group_id} are the journal's"
        if report.offsets_are_equal
        else "not compared",
        "records hash": f"{report.records_hash} (of all records of these epochs)",
        "learned hash": f"{report.applied_hash} (of all events in the model)",
        "state digest": f"{report.digest} (after epoch {report.last_epoch:,})",
    }
    typer.echo("\n".join(rows_of(facts)))
    say_remarks(report.remarks)
