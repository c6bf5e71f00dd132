"""Logs: one line for each record, fields that a machine can read, and nothing of a patient."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from dbos._logger import init_logger
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from models.patient import Identifier
from workflow.logs import configure_logging

log = logging.getLogger("cinelink.tests")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    names = (None, "cinelink", "dbos", "apscheduler", "pynetdicom", "uvicorn", "alembic", "httpx", "httpcore")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, level, handlers, propagate in before:
        logger.level, logger.handlers, logger.propagate = level, handlers, propagate
        logger.manager._clear_cache()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Sets up logging, and gives back all lines that were printed."""
    printed = io.BytesIO()
    # As strict as a real standard error: what UTF-8 cannot say is an error.
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(printed, encoding="utf-8", write_through=True))
    configure_logging("INFO")
    return lambda: printed.getvalue().decode().split("\n")[:-1]


def test_a_record_is_one_line_with_time_level_name_and_its_fields(lines: Callable[[], list[str]]) -> None:
    log.warning("message refused", extra={"action": "message.refused", "message_id": 17})
    (line,) = lines()
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING cinelink\.tests message refused "
        r"action=message\.refused message_id=17",
        line,
    )


def test_a_value_with_spaces_is_quoted_and_an_empty_one_is_seen(lines: Callable[[], list[str]]) -> None:
    log.info("x", extra={"reason": 'no "route"', "lane": "", "port": 0})
    assert lines()[0].endswith(r'x reason="no \"route\"" lane="" port=0')


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b[31m", "\x85", "\u2028", "\x00", "\udc80"])
def test_no_text_from_outside_can_begin_a_line_of_its_own(lines: Callable[[], list[str]], sign: str) -> None:
    log.info("odd %s", f"a{sign}2026 ERROR forged", extra={"control_id": f"M1{sign}2026 ERROR forged"})
    (line,) = lines()
    assert line.isprintable()


def test_a_field_that_speaks_of_a_patient_or_a_secret_is_not_shown(lines: Callable[[], list[str]]) -> None:
    log.info("x", extra={"patient_id": "MRN0042", "family": "Muster", "birth_date": "1970", "token": "s3cret"})
    assert lines()[0].endswith("x patient_id=(hidden) family=(hidden) birth_date=(hidden) token=(hidden)")


def test_an_exception_is_one_line_with_kind_and_place_and_without_the_value_it_stumbled_over(
    lines: Callable[[], list[str]],
) -> None:
    try:
        Identifier(value="MRN0042", authority="Muster")  # type: ignore[arg-type]
    except ValueError:
        log.exception("failed")
    (line,) = lines()
    assert "Muster" not in line
    assert re.search(r'failed exception="ValidationError at .*workflow/test_logs\.py:\d+ test_an_exception', line)


def test_an_exception_of_the_database_gives_its_code_and_not_its_parameters(lines: Callable[[], list[str]]) -> None:
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(text("select * from nowhere where family = :family"), {"family": "Muster"})
    except SQLAlchemyError:
        log.exception("failed")
    engine.dispose()
    (line,) = lines()
    assert "Muster" not in line
    assert "OperationalError at" in line
    assert "| from OperationalError (SQLITE_ERROR) at" in line


def test_an_exception_of_the_operating_system_says_why_and_not_which_file(lines: Callable[[], list[str]]) -> None:
    try:
        open("/nowhere/Muster.mp4")  # noqa: PTH123, SIM115
    except OSError:
        log.exception("failed")
    (line,) = lines()
    assert "FileNotFoundError (No such file or directory) at" in line
    assert "Muster" not in line


def test_the_execution_library_speaks_through_us_so_that_its_tracebacks_carry_no_values(
    lines: Callable[[], list[str]],
) -> None:
    init_logger()
    execution = logging.getLogger("dbos")
    execution.warning("restarted")
    execution.error("Exception encountered in background workflow:", exc_info=ValueError("Muster"))
    (line,) = lines()
    assert "background workflow: exception=" in line
    assert "Muster" not in line


@pytest.mark.parametrize(
    "program",
    ["fail()", "import threading; t = threading.Thread(target=fail); t.start(); t.join()"],
    ids=["process", "thread"],
)
def test_what_ends_a_process_or_a_thread_is_one_line_without_values(program: str) -> None:
    before = "from workflow.logs import configure_logging; configure_logging('INFO')\ndef fail(): int('Muster')\n"
    ran = subprocess.run([sys.executable, "-c", before + program], capture_output=True, text=True, check=False)
    (line,) = ran.stderr.splitlines()
    assert 'CRITICAL cinelink ended by an error exception="ValueError at' in line
    assert "Muster" not in line


def test_libraries_are_quiet_below_a_warning_and_we_are_heard_from_the_asked_level(
    lines: Callable[[], list[str]],
) -> None:
    for name in ("apscheduler", "pynetdicom.assoc", "uvicorn.access", "httpx"):
        logging.getLogger(name).info("chatter")
    log.debug("detail")
    log.info("started")
    assert [line.split()[-1] for line in lines()] == ["started"]


def test_setting_up_again_changes_the_level_and_does_not_print_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    configure_logging("ERROR")
    log.warning("not now")
    log.error("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("once")
