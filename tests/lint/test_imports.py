"""The import rules, broken on purpose: a contract that matches nothing is kept for ever."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lint.house import ROOMS, ROOT

DOORS = ("hl7", "dicom", "fhir", "files", "web")

#: Module, and what it must not import.
BREACHES = [
    ("models.bad", "mappings.tables"),
    ("models.bad", "pathlib"),
    ("models.bad", "time"),
    ("converters.bad", "interfaces.files.watch"),
    ("converters.bad", "mappings.tables"),
    ("converters.bad", "pynetdicom"),
    ("converters.bad", "socket"),
    ("converters.bad", "sqlmodel"),
    ("mappings.bad", "workflow.engine"),
    ("mappings.bad", "pydicom"),
    ("interfaces.hl7.bad", "interfaces.dicom.store"),
    ("interfaces.web.bad", "interfaces.fhir.client"),
    ("interfaces.web.bad", "hl7apy"),
    ("interfaces.web.bad", "sqlmodel"),
    ("interfaces.dicom.bad", "converters.probe"),
    ("interfaces.dicom.bad", "fastapi"),
    ("interfaces.files.bad", "workflow.settings"),
    ("interfaces.files.bad", "pydicom.dataset"),
    ("interfaces.files.bad", "av"),
    ("interfaces.new.bad", "fhir.resources"),
    ("workflow.bad", "hl7apy.core"),
    ("workflow.bad", "pydicom"),
    ("workflow.bad", "av"),
    ("workflow.bad", "jinja2"),
    ("workflow.bad", "starlette.requests"),
    ("workflow.bad", "dbos"),
    ("workflow.bad", "apscheduler.schedulers.background"),
    ("workflow.bad", "alembic"),
]

#: Module, and what it may import.
ALLOWED = [
    ("models.good", "sqlmodel"),
    ("converters.good", "models.order"),
    ("converters.good", "pydicom"),
    ("converters.good", "av"),
    ("mappings.good", "models.order"),
    ("interfaces.hl7.good", "hl7apy.core"),
    ("interfaces.dicom.good", "pynetdicom"),
    ("interfaces.dicom.good", "pydicom"),
    ("interfaces.fhir.good", "fhir.resources"),
    ("interfaces.web.good", "fastapi"),
    ("interfaces.web.good", "models.order"),
    ("workflow.good", "interfaces.web.good"),
    ("workflow.good", "converters.probe"),
    ("workflow.engine", "dbos"),
    ("workflow.clock", "apscheduler.schedulers.background"),
    ("workflow.store.database", "alembic.config"),
]


def house(folder: Path, imports: list[tuple[str, str]]) -> Path:
    """A house with the same rooms and nothing in them but these imports."""
    shutil.copy(ROOT / ".importlinter", folder)
    modules: dict[str, list[str]] = {room: [] for room in ROOMS}
    ours = [name for pair in imports for name in pair if name.split(".")[0] in ROOMS]
    for name in [*ours, *(f"interfaces.{door}.empty" for door in DOORS)]:
        modules.setdefault(name, [])
    for importer, imported in imports:
        modules[importer].append(f"import {imported}\n")
    for name, lines in modules.items():
        file = folder.joinpath(*name.split(".")) / "__init__.py" if name in ROOMS else folder.joinpath(*name.split("."))
        file = file if name in ROOMS else file.with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text("".join(lines))
    return folder


def verdict(folder: Path) -> tuple[int, str]:
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def of_breaches(tmp_path_factory: pytest.TempPathFactory) -> str:
    code, said = verdict(house(tmp_path_factory.mktemp("bad"), BREACHES))
    assert code == 1
    return said


def test_what_the_rules_allow_is_let_through(tmp_path: Path) -> None:
    code, said = verdict(house(tmp_path, ALLOWED))
    assert code == 0, said


@pytest.mark.parametrize(("importer", "imported"), BREACHES)
def test_a_forbidden_import_is_named(of_breaches: str, importer: str, imported: str) -> None:
    # A foreign package is named by its root.
    root, _, _ = imported.partition(".")
    target = imported if root in ROOMS else root
    assert f"{importer} -> {target} (" in of_breaches


def test_every_contract_can_be_broken(of_breaches: str) -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    names = [rules[section]["name"] for section in rules.sections() if ":contract:" in section]
    assert [name for name in names if f"{name} BROKEN" not in of_breaches] == []
