"""What several commands share: settings, an opened store, and answers as text or JSON."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from models.audit import Actor
from workflow.engine import Queue
from workflow.logs import configure_logging
from workflow.settings import Settings, load_settings
from workflow.store.database import Database
from workflow.store.unit_of_work import Store

as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
config = click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file; cinelink.toml in this folder by default.",
)


def settings_of(config_file: Path | None) -> Settings:
    """Read the settings and set up logging."""
    settings = load_settings(config_file)
    configure_logging("WARNING")
    return settings


def open_store(config_file: Path | None, *, with_queue: bool = False) -> Store:
    """Open the store that the settings name, with its schema current."""
    settings = settings_of(config_file)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database.url)
    database.upgrade()
    store = Store(database)
    if with_queue:
        store.connect_queue(Queue(database).enqueue)
    return store


def operator() -> Actor:
    """Return the person at the terminal, as the audit names them."""
    return Actor(name=f"{getpass.getuser()} (command line)")


def answer(value: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Print a value as JSON, or as text for people."""
    click.echo(json.dumps(value, indent=2, default=str) if as_json else text())


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under headings, in columns."""
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
