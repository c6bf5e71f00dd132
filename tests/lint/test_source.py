"""Rules of the house that no linter knows, each with its reason; the source is read, nothing is run."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

import workflow.store.unit_of_work  # noqa: F401 - loads every table

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("models", "converters", "mappings", "interfaces", "workflow")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text()))


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in nodes(path) if isinstance(node, ast.Call))


def attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def in_store(path: Path) -> bool:
    return name(path).startswith("workflow/store/")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_the_unit_of_work_commits(path: Path) -> None:
    """State, history and the next task are one commit; a second place that commits would break that."""
    found = [call.lineno for call in calls(path) if attribute(call) == "commit"]
    # The sandbox peers are programs of their own, with their own small stores.
    if path.name.startswith("sandbox"):
        return
    assert not found or name(path) == "workflow/store/unit_of_work.py"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_tables_and_sessions_are_touched_only_by_the_store(path: Path) -> None:
    """Frozen values leave the store; a row that wanders can change behind everybody's back."""
    if in_store(path) or path.is_relative_to(ROOT / "models"):
        return
    imported = [
        alias.name
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module or "").startswith(("models", "sqlmodel", "sqlalchemy.orm"))
    ]
    tables = [item for item in imported if item.endswith("Table") and item != "MappingTable"]
    assert tables == []
    # The engine hands the caller's session to the queue, and never opens one.
    assert "Session" not in imported or name(path) == "workflow/engine.py"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_no_moment_is_without_a_time_zone(path: Path) -> None:
    """A naive time is an hour wrong twice a year, and matching weighs minutes."""
    bad = [
        call.lineno
        for call in calls(path)
        if attribute(call) in {"utcnow", "utcfromtimestamp"}
        or (attribute(call) in {"now", "fromtimestamp"} and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name) and call.func.value.id == "datetime"
            and not any(word.arg in {"tz"} for word in call.keywords) and len(call.args) < (1 if attribute(call) == "now" else 2))
    ]  # fmt: skip
    assert bad == []


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name)
def test_no_except_is_broad(path: Path) -> None:
    """An error that nobody expected must surface, not become a quiet state."""
    broad = [
        node.lineno
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert broad == []


PATIENT_WORDS = re.compile(r"patient(?!_key)|\.name\b|birth|family|given|payload|raw\b|\.claims")


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_log_message_carries_patient_data(path: Path) -> None:
    """Logs leave the building; ids and control ids are enough to find the rest in the journal."""
    bad = [
        f"{call.lineno}: {ast.unparse(argument)}"
        for call in calls(path)
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"log", "logger", "logging"}
        and call.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
        for argument in [*call.args, *(word.value for word in call.keywords)]
        if not isinstance(argument, ast.Constant) and PATIENT_WORDS.search(ast.unparse(argument))
    ]
    assert bad == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_module_holds_several_nouns(path: Path) -> None:
    """A module of more than 600 lines is several rooms behind one door."""
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_sleeps_for_luck(path: Path) -> None:
    """A test waits for a condition with a limit; a bare sleep is either too short or too long."""
    for function in nodes(path):
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        inside_loop = {
            id(call) for loop in ast.walk(function) if isinstance(loop, ast.While) for call in ast.walk(loop)
        }
        bad = [
            call.lineno
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and attribute(call) == "sleep" and id(call) not in inside_loop
        ]
        assert bad == [], function.name


def test_every_table_of_ours_has_our_prefix() -> None:
    """The execution library keeps its tables in the same database; migrations tell them apart by the prefix."""
    assert [table for table in SQLModel.metadata.tables if not table.startswith("cl_")] == []


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    """What is true on one machine only does not belong in the project."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    words = ("/" + "work/", "/" + "farm/", "files.python" + "hosted", "pypi" + ".org", "registry.npm" + "js")
    found = [
        (file, word)
        for file in listed.stdout.splitlines()
        if (ROOT / file).is_file() and (ROOT / file).suffix not in {".png"}
        for word in words
        if word in (ROOT / file).read_text(errors="replace")
    ]
    assert found == []
