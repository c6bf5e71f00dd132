"""The source of the house, read once: what the rules look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("models", "converters", "mappings", "interfaces", "workflow")

#: What is made here by tools or by running, and never kept.
_MADE = frozenset(
    {
        ".git", ".venv", ".peers", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis",
        "__pycache__", "node_modules", "cinelink-data", "demo-data", "dist",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Module:
    """One Python file: its path from the root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @cached_property
    def calls(self) -> tuple[ast.Call, ...]:
        return tuple(node for node in self.nodes if isinstance(node, ast.Call))

    def within(self, *places: str) -> bool:
        """True when the file is one of these, or lies in one of these folders."""
        return any(self.path == place or self.path.startswith(f"{place.rstrip('/')}/") for place in places)


def kept_files() -> Iterator[Path]:
    """Every file of the project, also one that is not committed yet."""
    folders = [ROOT]
    while folders:
        for entry in sorted(folders.pop().iterdir()):
            if entry.name in _MADE or entry.name.endswith(".egg-info"):
                continue
            if entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                yield entry


def _read(folder: str) -> tuple[Module, ...]:
    return tuple(
        Module(path.relative_to(ROOT).as_posix(), path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))
    )


@lru_cache(maxsize=1)
def sources() -> tuple[Module, ...]:
    """Every module of the product."""
    return tuple(module for room in ROOMS for module in _read(room))


@lru_cache(maxsize=1)
def suite() -> tuple[Module, ...]:
    """Every module of the tests."""
    return _read("tests")


def last_name(node: ast.AST) -> str:
    """``utcnow`` of ``datetime.datetime.utcnow`` and of ``utcnow``; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def owner(node: ast.AST) -> str:
    """``datetime`` of ``datetime.now`` and of ``datetime.datetime.now``."""
    return last_name(node.value) if isinstance(node, ast.Attribute) else ""
