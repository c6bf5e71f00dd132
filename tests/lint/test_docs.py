"""Docs say what is true: every command is in docs/commands.md, every table and column in mappings/README.md."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from models.mapping import ROW_MODELS
from workflow.cli.main import cinelink

ROOT = Path(__file__).resolve().parents[2]


def commands(group: click.Group, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix}{name} ")
        else:
            found.append((prefix.strip() or name, name))
    return found


@pytest.mark.parametrize(("group", "name"), commands(cinelink))
def test_every_command_is_documented(group: str, name: str) -> None:
    lines = [line for line in (ROOT / "docs/commands.md").read_text().splitlines() if f"cinelink {group}" in line]
    assert any(name in line for line in lines)


@pytest.mark.parametrize("table", sorted(ROW_MODELS))
def test_every_mapping_column_is_documented(table: str) -> None:
    text = (ROOT / "mappings/README.md").read_text()
    assert f"`{table}`" in text
    missing = [column for column in ROW_MODELS[table].model_fields if f"`{column}`" not in text]
    assert missing == []
