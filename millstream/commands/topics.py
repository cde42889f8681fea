"""`millstream topics`: see and create the topics, write their schemas."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from stream.errors import ConfigError
from stream.log.kafka import differing_topics, ensure_topics, missing_topics, topic_plans
from stream.wire.schema import SCHEMAS, json_schema

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See and create the topics, write the JSON Schemas of their records.")


@app.command()
def create(config: ConfigOption = None, set_: SetOption = None, bootstrap_servers: BootstrapOption = None) -> None:
    """Create the topics that are missing, with explicit partitions, replication and cleanup policy."""
    settings = settings_from(config, set_, bootstrap_servers)
    created, differing = ensure_topics(settings), differing_topics(settings)
    for plan in topic_plans(settings):
        made = (
            f"partitions={plan.partitions} replication={plan.replication_factor} "
            f"cleanup={plan.configs['cleanup.policy']}"
        )
        if plan.name in created:
            typer.echo(f"created  {plan.name}  {made}")
        elif plan.name in differing:
            typer.echo(f"differs  {plan.name}  {'; '.join(differing[plan.name])}: change it with kafka-configs.sh")
        else:
            typer.echo(f"exists   {plan.name}")


@app.command("list")
def list_(config: ConfigOption = None, set_: SetOption = None, bootstrap_servers: BootstrapOption = None) -> None:
    """Show every topic, what it is for and whether it exists."""
    settings = settings_from(config, set_, bootstrap_servers)
    missing, differing = set(missing_topics(settings)), differing_topics(settings)
    table = Table("topic", "what for", "cleanup", "state")
    for plan in topic_plans(settings):
        state = "[red]missing[/]" if plan.name in missing else "; ".join(differing.get(plan.name, ["exists"]))
        table.add_row(plan.name, plan.purpose, plan.configs["cleanup.policy"], state)
    Console().print(table)
    if missing:
        typer.echo("Create what is missing with: millstream topics create")


@app.command()
def schemas(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("docs/schemas"),
) -> None:
    """Write the JSON Schema of every record value."""
    for name in SCHEMAS:
        path = out / f"{name}.schema.json"
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {out}: expected a folder to write to: {error.strerror}") from error
        typer.echo(str(path))
