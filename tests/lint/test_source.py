"""Every rule of the house, asked of the whole house; the source is read, nothing is run."""

from __future__ import annotations

import pytest

from tests.lint import rules
from tests.lint.house import ROOT, kept_files, sources, suite
from tests.lint.rules import Rule

_TABLES = frozenset(table.name for module in sources() for table in rules.table_classes(module))

#: The sandbox peers are small programs of their own, with stores of their own.
_SANDBOXES = tuple(module.path for module in sources() if module.path.rpartition("/")[2].startswith("sandbox"))

RULES = {
    "one place commits": Rule(
        rules.commits, except_in=("workflow/store/unit_of_work.py", "workflow/store/migrations", *_SANDBOXES)
    ),
    # The engine hands the caller's session to the queue, and never opens one.
    "sessions live in the store": Rule(rules.sessions, except_in=("workflow/store", "workflow/engine.py")),
    "tables are touched in the store": Rule(rules.tables_imported(_TABLES), except_in=("models", "workflow/store")),
    "tables have our prefix": Rule(rules.tables_without_prefix),
    "times have a zone": Rule(rules.naive_times, for_tests=True),
    "no except is broad": Rule(rules.broad_excepts, for_tests=True),
    "logs hold no patient data": Rule(rules.patient_data_in_logs),
    "loggers have our prefix": Rule(rules.foreign_loggers, except_in=("workflow/logs.py",)),
    "edges read no environment": Rule(rules.environment_reads, except_in=("workflow",)),
    "nothing is unfinished": Rule(rules.unfinished, for_tests=True, except_in=("tests/lint",)),
    "nothing stands in for the real thing": Rule(rules.stand_ins),
    "modules are short": Rule(rules.too_long, for_tests=True),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    modules = [*sources(), *suite()] if rule.for_tests else sources()
    assert [finding for module in modules for finding in rule.findings(module)] == []


def test_no_test_sleeps_for_luck() -> None:
    assert [finding for module in suite() for finding in Rule(rules.lucky_sleeps).findings(module)] == []


def test_there_are_rows_to_guard() -> None:
    """Were the tables declared in another way, the rule about them would find nothing and say nothing."""
    assert {"OrderTable", "RecordingTable", "DeliveryTable", "EventTable"} <= _TABLES
    assert "MappingTable" not in _TABLES


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    """What is true on one machine only does not belong in the project; a registry is the business of who installs."""
    # Written in halves, so that this file does not name them.
    words = [
        "".join(halves).encode()
        for halves in (
            ("/wo", "rk/"), ("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("files.python", "hosted"),
            ("pypi", ".org"), ("registry.npm", "js"), ("registry.yarn", "pkg"),
        )
    ]  # fmt: skip
    found = [
        f"{file.relative_to(ROOT)}: {word.decode()}"
        for file in kept_files()
        for word in words
        if word in file.read_bytes()
    ]
    assert found == []
