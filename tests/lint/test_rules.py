"""Each rule of the house, kept and broken on purpose: a rule that finds nothing proves nothing."""

from __future__ import annotations

import textwrap

import pytest

from tests.lint import rules
from tests.lint.house import Module

BROKEN = [
    (rules.commits, "session.commit()"),
    (rules.commits, "with engine.begin() as connection: pass"),
    (rules.sessions, "from sqlmodel import Session, select"),
    (rules.sessions, "import sqlmodel\nsqlmodel.Session(engine)"),
    (rules.tables_imported(frozenset({"OrderTable"})), "from models.order import Order, OrderTable"),
    (rules.tables_imported(frozenset({"OrderTable"})), "from models import order\norder.OrderTable(id='1')"),
    (rules.tables_without_prefix, "class OrderTable(SQLModel, table=True):\n    __tablename__ = 'orders'"),
    (rules.tables_without_prefix, "class OrderTable(SQLModel, table=True):\n    id: str"),
    (rules.naive_times, "datetime.now()"),
    (rules.naive_times, "datetime.datetime.utcnow()"),
    (rules.naive_times, "datetime.fromtimestamp(5)"),
    (rules.naive_times, "date.today()"),
    (rules.broad_excepts, "try: pass\nexcept: pass"),
    (rules.broad_excepts, "try: pass\nexcept Exception: pass"),
    (rules.broad_excepts, "try: pass\nexcept (ValueError, BaseException): pass"),
    (rules.broad_excepts, "with contextlib.suppress(Exception): pass"),
    (rules.broad_excepts, "def f():\n  try: pass\n  except BaseException:\n    if x: return\n    raise"),
    (rules.patient_data_in_logs, "log.info('taken %s', order.patient.identifier.value)"),
    (rules.patient_data_in_logs, "log.info('taken %s', recording.name)"),
    (rules.patient_data_in_logs, "log.info('taken %s', str(recording.path))"),
    (rules.patient_data_in_logs, "log.info('taken %s', order)"),
    (rules.patient_data_in_logs, "log.info('taken %s', [path for path in found])"),
    (rules.patient_data_in_logs, "log.info('taken %s', message.order.patient_key)"),
    (rules.patient_data_in_logs, "log.info(f'taken {order_id}')"),
    (rules.patient_data_in_logs, "self._logger.warning('taken', extra={'patient_id': number})"),
    (rules.patient_data_in_logs, "logging.log(20, 'born %s', birth_date)"),
    (rules.patient_data_in_logs, "try: pass\nexcept ValueError as error: log.error('failed: %s', error)"),
    (rules.patient_data_in_logs, "try: pass\nexcept ValueError as error: log.error('x', extra={'why': str(error)})"),
    (rules.foreign_loggers, "logging.getLogger(__name__)"),
    (rules.foreign_loggers, "logging.getLogger()"),
    (rules.environment_reads, "os.environ.get('HOME')"),
    (rules.environment_reads, "os.getenv('HOME')"),
    (rules.lucky_sleeps, "def test_x():\n    time.sleep(1)"),
    (rules.lucky_sleeps, "while True:\n    time.sleep(1)"),
    (rules.unfinished, "raise NotImplementedError"),
    (rules.unfinished, "pytest.skip('later')"),
    (rules.unfinished, "@pytest.mark.xfail\ndef test_x(): pass"),
    (rules.unfinished, "x = 1  # " + "TODO: later"),
    (rules.stand_ins, '"""TEMPORARY stand-in."""'),
    (rules.stand_ins, "reasons = ('stub: conforms',)"),
    (rules.too_long, "x = 1\n" * 601),
]

KEPT = [
    (rules.sessions, "from sqlmodel import Field, SQLModel"),
    (rules.tables_imported(frozenset({"OrderTable"})), "from models.mapping import MappingTable"),
    (rules.tables_without_prefix, "class OrderTable(SQLModel, table=True):\n    __tablename__ = 'cl_order'"),
    (rules.naive_times, "datetime.now(tz=UTC); datetime.now(UTC); datetime.fromtimestamp(5, tz=UTC); clock.now()"),
    (rules.broad_excepts, "try: pass\nexcept (ValueError, OSError): pass\nwith contextlib.suppress(OSError): pass"),
    (rules.broad_excepts, "try: pass\nexcept BaseException:\n    undo()\n    raise"),
    (rules.patient_data_in_logs, "log.info('taken', extra={'action': 'order.taken', 'order_id': order.id})"),
    (rules.patient_data_in_logs, "try: pass\nexcept OSError as error: log.error('full: %s', error.strerror)"),
    (rules.patient_data_in_logs, "try: pass\nexcept OSError as e: log.error('%s', type(e).__name__, exc_info=e)"),
    (rules.patient_data_in_logs, "log.info('waits', extra={'delivery_id': claim.delivery.id})"),
    (rules.patient_data_in_logs, "math.log(patient)"),
    (rules.foreign_loggers, "logging.getLogger('cinelink.' + __name__); logging.getLogger('cinelink.intake')"),
    (
        rules.lucky_sleeps,
        "while time.monotonic() < deadline:\n    time.sleep(1)\nfor _ in range(9):\n    time.sleep(1)",
    ),
    (rules.unfinished, "itertools.skip(1)"),
    (rules.too_long, "x = 1\n" * 600),
]


def found(check: rules.Check, text: str) -> list[str]:
    return rules.Rule(check).findings(Module("workflow/example.py", textwrap.dedent(text)))


@pytest.mark.parametrize(("check", "text"), BROKEN)
def test_what_breaks_a_rule_is_found(check: rules.Check, text: str) -> None:
    assert found(check, text) != []


@pytest.mark.parametrize(("check", "text"), KEPT)
def test_what_keeps_a_rule_is_let_through(check: rules.Check, text: str) -> None:
    assert found(check, text) == []
