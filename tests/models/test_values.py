"""What all values and tables share: frozen, exact, and no time without a zone in or out of a database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Column, Connection, Integer, MetaData, Table, create_engine, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError
from sqlmodel import SQLModel

from models.audit import Actor
from models.delivery import Backoff, Proof
from models.value import UtcDateTime, Value

DIALECT = sqlite.dialect()
TABLE = Table("moment", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime))


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as opened:
        TABLE.create(opened)
        yield opened
    engine.dispose()


def kept(connection: Connection, at: datetime | None) -> datetime | None:
    connection.execute(insert(TABLE).values(at=at))
    return connection.execute(select(TABLE.c.at)).scalar_one()


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 3, 1, 9, 0, 0, 123456, tzinfo=UTC),
        datetime(2026, 3, 1, 9, 0, tzinfo=timezone(timedelta(hours=-5))),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"), fold=0),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"), fold=1),
    ],
    ids=["UTC", "another zone", "first of the repeated hour", "second of the repeated hour"],
)
def test_a_moment_comes_back_from_sqlite_as_the_same_moment_in_utc(connection: Connection, at: datetime) -> None:
    back = kept(connection, at)
    assert back is not None
    assert back.tzinfo is UTC
    assert back.timestamp() == at.timestamp()


def test_the_two_hours_of_a_clock_change_stay_apart(connection: Connection) -> None:
    repeated = [datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"), fold=fold) for fold in (0, 1)]
    connection.execute(insert(TABLE), [{"at": at} for at in repeated])
    first, second = connection.execute(select(TABLE.c.at).order_by(TABLE.c.at)).scalars()
    assert second - first == timedelta(hours=1)


def test_a_moment_without_a_zone_is_refused(connection: Connection) -> None:
    naive = datetime(2026, 3, 1, 9, 0)  # noqa: DTZ001 - what must be refused
    with pytest.raises(StatementError, match="give it a time zone"):
        kept(connection, naive)


def test_no_moment_stays_none(connection: Connection) -> None:
    assert kept(connection, None) is None


def test_moments_are_compared_in_utc_by_the_database(connection: Connection) -> None:
    """``next_attempt_at <= now`` decides what is due; on SQLite it compares texts."""
    due = datetime(2026, 3, 1, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    connection.execute(insert(TABLE).values(at=due))
    now = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    assert connection.execute(select(TABLE.c.id).where(now >= TABLE.c.at)).scalar() == 1
    assert connection.execute(select(TABLE.c.id).where(now - timedelta(seconds=1) >= TABLE.c.at)).scalar() is None


def test_what_is_no_moment_in_the_database_is_not_taken_for_one() -> None:
    with pytest.raises(TypeError, match="not a datetime"):
        UtcDateTime().process_result_value("2026-03-01", DIALECT)


@given(st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Europe/Zurich"), ZoneInfo("Australia/Lord_Howe")])))
def test_every_moment_is_stored_in_utc(at: datetime) -> None:
    try:
        expected = at.astimezone(UTC)
    except OverflowError:
        return
    assert UtcDateTime().process_bind_param(at, DIALECT) == expected


def test_a_value_cannot_be_changed_and_equals_its_like() -> None:
    ana = Actor(name="ana")
    with pytest.raises(ValidationError, match="frozen"):
        ana.name = "bob"  # type: ignore[misc]
    assert ana == Actor(name="ana")
    assert len({ana, Actor(name="ana")}) == 1


def test_every_value_of_ours_is_frozen_and_refuses_what_it_does_not_know() -> None:
    def below(kind: type[Value]) -> Iterator[type[Value]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    loose = [kind for kind in below(Value) if not kind.model_config["frozen"] or kind.model_config["extra"] != "forbid"]
    assert loose == []


def test_every_constraint_has_a_name_so_that_one_set_of_migrations_serves_both_databases() -> None:
    unnamed = [
        f"{table.name}: {constraint!r}"
        for table in SQLModel.metadata.tables.values()
        for constraint in table.constraints
        if constraint.name is None
    ]
    assert unnamed == []


def test_every_moment_in_a_table_of_ours_has_a_zone() -> None:
    naive = [
        f"{table.name}.{column.name}"
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if column.type.python_type is datetime and not isinstance(column.type, UtcDateTime)
    ]
    assert naive == []


def test_the_wait_between_attempts_doubles_up_to_its_most() -> None:
    backoff = Backoff(first=1, most=60)
    assert [backoff.after(attempts) for attempts in (0, 1, 2, 3, 7, 1000)] == [1, 1, 2, 4, 60, 60]


def test_an_object_that_is_found_under_another_identity_is_not_proven() -> None:
    assert Proof(found=True).holds
    assert not Proof(found=True, conflicts=("the accession is another",)).holds
    assert not Proof(found=False).holds
