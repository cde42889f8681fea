"""`millstream doctor`: what is wrong, or will be, and what to do about it."""

from typing import Annotated

import msgspec
import typer

from millstream.diagnosis.doctor import broker_findings, machine_findings, settings_findings, software_findings
from millstream.diagnosis.findings import Level, as_json, conclude, lines_of
from millstream.diagnosis.senders import senders_of
from millstream.diagnosis.worker_client import url_of
from millstream.terminal.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, loaded_from

__all__ = ["doctor"]


# More than six parameters: typer reads the options of a command from its parameters.
def doctor(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    device: DeviceOption = None,
) -> None:
    """Look at software, machine, settings, brokers, topics and what a worker that runs has noticed of its senders.

    Each is said to be well, or what to do.

    Run it on the worker's machine, with the worker's settings, before the first start and whenever something is odd. It
    changes nothing. Exit code 0: no errors (there may be warnings); 11: something does not work.
    """
    loaded = loaded_from(config, set_, bootstrap_servers, device)
    settings = loaded.settings
    findings = [
        *software_findings(settings),
        *machine_findings(settings),
        *settings_findings(loaded),
        *broker_findings(settings),
        *senders_of(url_of(settings.metrics)),
    ]
    if json:
        is_healthy = all(finding.level != Level.ERROR for finding in findings)
        typer.echo(msgspec.json.encode({"healthy": is_healthy, "findings": as_json(findings)}).decode())
    else:
        typer.echo("\n".join(lines_of(findings)))
    conclude(findings, is_quiet=json)
