"""Promise 2: what one transaction means."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from models.errors import NotAllowed, SettingsError
from models.message import Applied, Header
from models.recording import RecordingState
from tests.samples import NOW, claim, order, recording
from workflow.store.database import Database
from workflow.store.unit_of_work import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = Database(f"sqlite:///{tmp_path / 'cinelink.db'}")
    database.upgrade()
    yield Store(database)
    database.dispose()


def test_the_migrations_make_exactly_the_schema_of_the_models(store: Store) -> None:
    with store.database.engine.connect() as connection:
        options = {"compare_type": True, "version_table": "cl_alembic_version"}
        context = MigrationContext.configure(connection, opts=options)
        differences = [
            difference
            for difference in compare_metadata(context, SQLModel.metadata)
            if not str(difference[0]).startswith("remove") and difference[0] != "modify_default"
        ]
    assert differences == []
    assert store.database.check() == ""


def test_a_block_that_raises_leaves_nothing_behind(store: Store) -> None:
    def change_my_mind() -> None:
        with store.transaction("order.saved") as unit:
            unit.orders.save(order(), action="schedule", message_id=None, mapping_version=1)
            raise NotAllowed("changed my mind")

    with pytest.raises(NotAllowed):
        change_my_mind()
    with store.reading() as unit:
        assert unit.orders.of_accession("E1001") == ()


def test_every_version_of_an_order_is_kept(store: Store) -> None:
    for version in (1, 2):
        with store.transaction("order.saved") as unit:
            unit.orders.save(order(version=version), action="update", message_id=version, mapping_version=1)
    with store.reading() as unit:
        assert unit.orders.versions("order-E1001") == 2
        assert unit.orders.get("order-E1001").version == 2


def test_a_recording_that_moved_on_meanwhile_cannot_be_moved_by_an_old_reader(store: Store) -> None:
    first = recording(claim("accession", "E1001"))
    with store.transaction("recording.added") as unit:
        unit.recordings.add(first)
    with store.transaction("recording.linked") as unit:
        unit.recordings.move(first, first.model_copy(update={"state": RecordingState.LINKED, "order_id": "o"}))
    with pytest.raises(NotAllowed, match="moved on"), store.transaction("recording.review") as unit:
        unit.recordings.move(first, first.model_copy(update={"state": RecordingState.NEEDS_REVIEW}))


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET detail = 'x'"])
@pytest.mark.parametrize("table", ["cl_audit", "cl_event"])
def test_audit_and_history_are_append_only_by_the_database_itself(store: Store, statement: str, table: str) -> None:
    with store.transaction("written") as unit:
        unit.journal.audit("Ana", "view", "accession E1001")
        unit.record("order.created", "order is scheduled", order_id="order-E1001")
    with pytest.raises(DBAPIError, match="append-only"), store.database.engine.begin() as connection:
        connection.execute(text(statement.format(table)))


def test_writers_side_by_side_lose_no_update(store: Store) -> None:
    """Lanes give every delivery a place of its own, also when many are made at once."""
    places: list[int] = []

    def take() -> None:
        for _ in range(10):
            with store.transaction("lane.taken") as unit:
                places.append(unit.deliveries.take_place("pacs/order-E1001"))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == list(range(1, 81))


def test_a_repeated_message_is_known_by_sender_control_id_and_bytes(store: Store) -> None:
    header = Header(sending_application="RIS", control_id="M1", message_type="ORM", trigger_event="O01")
    with store.transaction("message.received") as unit:
        unit.messages.add(
            received_at=NOW,
            peer="127.0.0.1",
            header=header,
            sha256="aa",
            raw=b"MSH",
            answer=b"ACK",
            applied=Applied.RECEIVED,
        )
        assert unit.messages.duplicate(header, "aa") is not None
        assert unit.messages.duplicate(header, "bb") is None
        assert unit.messages.duplicate(header.model_copy(update={"sending_application": "X"}), "aa") is None


def test_a_token_is_kept_as_its_digest_and_can_be_revoked(store: Store) -> None:
    with store.transaction("token.created") as unit:
        unit.journal.add_token("secret-token", "Ana")
    with store.reading() as unit:
        actor = unit.journal.actor_of("secret-token")
        assert actor is not None
        assert actor.name == "Ana"
        assert unit.journal.actor_of("other") is None
    raw = (store.database.file or Path()).read_bytes()
    assert b"secret-token" not in raw
    with store.transaction("token.revoked") as unit:
        assert unit.journal.revoke_tokens("Ana") == 1
        assert unit.journal.actor_of("secret-token") is None


def test_a_hook_hears_of_every_commit_before_and_after(store: Store) -> None:
    heard: list[tuple[str, str]] = []
    hooked = Store(store.database, hook=lambda moment, name: heard.append((moment, name)))
    with hooked.transaction("order.saved") as unit:
        unit.orders.save(order(), action="schedule", message_id=None, mapping_version=1)
    assert heard == [("before", "order.saved"), ("after", "order.saved")]


def test_another_kind_of_database_is_refused_in_words() -> None:
    with pytest.raises(SettingsError, match="sqlite:///FILE or postgresql"):
        Database("mysql://somewhere/db")
