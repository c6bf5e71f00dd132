"""Commands that look into and settle what the engine holds."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click

from mappings.tables import write_table
from models.errors import NotAllowed, NotFound
from models.mapping import ROW_MODELS
from models.match import MatchRule
from models.timeline import RecordingStory, Timeline
from workflow.bootstrap import limits_of
from workflow.children import ChildRuns
from workflow.cli.common import answer, as_json, config, open_store, operator, settings_of, table
from workflow.desk import StoreDesk
from workflow.engine import Queue
from workflow.matching import Matching
from workflow.store.database import Database
from workflow.store.unit_of_work import Store
from workflow.tables import PublishedTables
from workflow.upkeep import Upkeep

_SIGNS = {True: "ok    ", False: "failed", None: "owed  "}


def dump(values: Any) -> list[dict[str, Any]]:
    """Return values as JSON-ready dicts."""
    return [value.model_dump(mode="json") for value in values]


# --- explain -------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("accession")
@config
@as_json
def explain(accession: str, config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """Say what happened to an order and its videos, and show the proof chain."""
    timelines = StoreDesk(open_store(config_file)).timeline(accession, operator())
    answer(dump(timelines), as_json=as_json, text=lambda: "\n\n".join(timeline_text(item) for item in timelines))


def timeline_text(timeline: Timeline) -> str:
    """Return a timeline for people."""
    order = timeline.order
    lines = [
        f"Order {order.accession} is {order.status}" + (", media complete" if order.media_complete else ""),
        f"  {order.procedure.value} {order.procedure.meaning}, version {timeline.versions}",
        f"  study {order.study_uid or '-'}",
    ]
    if order.status_reason:
        lines.append(f"  {order.status_reason}")
    for story in timeline.recordings:
        lines += _story_lines(story)
    lines.append("What happened:")
    lines += [f"  {event.at:%Y-%m-%d %H:%M:%S}Z  {event.action:<24} {event.detail}" for event in timeline.events]
    return "\n".join(lines)


def _story_lines(story: RecordingStory) -> list[str]:
    recording = story.recording
    lines = [f"Recording {recording.name} ({recording.id}) is {recording.state}: {recording.reason or 'nothing owed'}"]
    if story.verdict:
        lines.append(f"  matched with {story.verdict.probability:.4%}")
    lines += [f"  {reason}" for reason in (story.plan.reasons if story.plan else ())]
    lines.append("  Proof chain:")
    lines += [f"    [{_SIGNS[link.holds]}] {link.name}: {link.value or '-'}" for link in story.proof]
    return lines


# --- orders, recordings, messages ----------------------------------------------------------------------------------


@click.group()
def orders() -> None:
    """Look at orders."""


@orders.command("list")
@click.option("--text", default="", help="An identifier, or how it begins.")
@config
@as_json
def orders_list(text: str, config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """List the newest orders."""
    desk = StoreDesk(open_store(config_file))
    found = desk.orders(text=text)
    desk.audit_view(operator(), "orders", "list")
    rows = [(item.accession, item.status.value, item.procedure.value, item.station, item.id) for item in found]
    answer(
        dump(found), as_json=as_json, text=lambda: table(("ACCESSION", "STATUS", "PROCEDURE", "STATION", "ID"), rows)
    )


@click.group()
def recordings() -> None:
    """Look at recordings, link one by hand, or try one again."""


@recordings.command("list")
@click.option("--state", default="", help="Only those in this state, e.g. needs_review.")
@config
@as_json
def recordings_list(state: str, config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """List the newest recordings."""
    desk = StoreDesk(open_store(config_file))
    found = desk.recordings(state=state)
    desk.audit_view(operator(), "recordings", "list")
    rows = [(item.id, item.state.value, item.name, item.reason) for item in found]
    answer(dump(found), as_json=as_json, text=lambda: table(("ID", "STATE", "FILE", "REASON"), rows))


@recordings.command("link")
@click.argument("recording_id")
@click.argument("order")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@config
@as_json
def recordings_link(
    recording_id: str,
    order: str,
    reason: str,
    config_file: Path | None,
    as_json: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Link a waiting recording to ORDER (an order id, or an accession number that names one order)."""
    settings = settings_of(config_file)
    store = open_store(config_file, with_queue=True)
    matching = Matching(store, PublishedTables(store), rule=MatchRule(), child=ChildRuns(limits_of(settings)))
    linked = matching.link(recording_id, _order_id(store, order), operator(), reason)
    answer(linked.model_dump(mode="json"), as_json=as_json, text=lambda: f"{linked.id} is {linked.state}")


def _order_id(store: Store, order: str) -> str:
    with store.reading() as unit:
        found = unit.orders.of_accession(order)
        if not found:
            return unit.orders.get(order).id
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        raise NotAllowed(f"accession {order} names {len(found)} orders; give one order id of: {ids}")
    return found[0].id


@recordings.command("retry")
@click.argument("recording_id")
@config
def recordings_retry(recording_id: str, config_file: Path | None) -> None:
    """Try a failed, held or rejected recording again, from the stage that ended it."""
    store = open_store(config_file, with_queue=True)
    again = Upkeep(store, Queue(store.database)).retry(recording_id, operator())
    click.echo(f"{again.id} is {again.state}")


@click.group()
def messages() -> None:
    """Look at the messages that came in."""


@messages.command("list")
@click.option("--limit", default=50, show_default=True, help="How many.")
@config
@as_json
def messages_list(limit: int, config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """List the newest messages."""
    desk = StoreDesk(open_store(config_file))
    found = desk.messages(limit=limit)
    rows = [
        (str(item.id), item.header.kind, item.header.control_id, item.applied, item.acknowledged, item.reason)
        for item in found
    ]
    values = [item.model_dump(mode="json", exclude={"raw", "answer"}) for item in found]
    answer(values, as_json=as_json, text=lambda: table(("ID", "TYPE", "CONTROL ID", "APPLIED", "ACK", "REASON"), rows))


@messages.command("show")
@click.argument("message_id", type=int)
@config
def messages_show(message_id: int, config_file: Path | None) -> None:
    """Show one message's bytes and the answer it got; the view is audited."""
    store = open_store(config_file)
    with store.reading() as unit:
        message = unit.messages.get(message_id)
    StoreDesk(store).audit_view(operator(), f"message {message_id}", "raw")
    for title, data in (("message", message.raw), ("answer", message.answer)):
        click.echo(f"--- {title} ---")
        click.echo(data.decode(errors="replace").replace("\r", "\n"))
    click.echo(f"{message.applied}: {message.reason or 'no remark'}")


# --- tables and destinations ---------------------------------------------------------------------------------------


@click.group()
def mappings() -> None:
    """Look at the mapping tables."""


@mappings.command("list")
@config
@as_json
def mappings_list(config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """List the tables of the published version."""
    store = open_store(config_file)
    current = PublishedTables(store).current()
    rows = [(name, str(len(getattr(current, name))), str(current.version)) for name in ROW_MODELS]
    values = [{"table": name, "rows": count, "version": version} for name, count, version in rows]
    answer(values, as_json=as_json, text=lambda: table(("TABLE", "ROWS", "VERSION"), rows))


@mappings.command("export")
@click.argument("name", type=click.Choice(sorted(ROW_MODELS)))
@config
def mappings_export(name: str, config_file: Path | None) -> None:
    """Print one published table as CSV."""
    current = PublishedTables(open_store(config_file)).current()
    click.echo(write_table(name, getattr(current, name)), nl=False)


@click.group()
def destinations() -> None:
    """Look at the destinations."""


@destinations.command("list")
@config
@as_json
def destinations_list(config_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a click flag
    """List the destinations of the published version."""
    current = PublishedTables(open_store(config_file)).current()
    rows = [(row.name, row.kind, row.url or f"{row.host}:{row.port}", row.ae_title) for row in current.destinations]
    answer(
        dump(current.destinations), as_json=as_json, text=lambda: table(("NAME", "KIND", "ADDRESS", "AE TITLE"), rows)
    )


# --- tokens and the database ---------------------------------------------------------------------------------------


@click.group()
def token() -> None:
    """Make and revoke access tokens for the API and the console."""


@token.command("create")
@click.argument("name")
@config
def token_create(name: str, config_file: Path | None) -> None:
    """Make a token for NAME and print it once; only its SHA-256 is kept."""
    made = secrets.token_urlsafe(32)
    with open_store(config_file).transaction("token.created") as unit:
        unit.journal.add_token(made, name)
        unit.journal.audit(operator().name, "token.create", name)
    click.echo(made)


@token.command("revoke")
@click.argument("name")
@config
def token_revoke(name: str, config_file: Path | None) -> None:
    """Revoke all tokens of NAME."""
    with open_store(config_file).transaction("token.revoked") as unit:
        count = unit.journal.revoke_tokens(name)
        unit.journal.audit(operator().name, "token.revoke", name)
    if not count:
        raise NotFound(f"{name!r} has no token that is in force; list them with cinelink token list")
    click.echo(f"{count} revoked")


@token.command("list")
@config
def token_list(config_file: Path | None) -> None:
    """List whose tokens there are."""
    with open_store(config_file).reading() as unit:
        rows = [
            (name, f"{made:%Y-%m-%d}", f"{gone:%Y-%m-%d}" if gone else "-")
            for name, made, gone in unit.journal.tokens()
        ]
    click.echo(table(("NAME", "CREATED", "REVOKED"), rows))


@click.group("db")
def database() -> None:
    """Bring the database's schema up to date, or check it."""


@database.command("upgrade")
@config
def database_upgrade(config_file: Path | None) -> None:
    """Bring the schema to the newest version."""
    open_store(config_file)
    click.echo("the schema is current")


@database.command("check")
@config
def database_check(config_file: Path | None) -> None:
    """Say whether the schema is current; exit code 1 when it is not."""
    trouble = Database(settings_of(config_file).database.url).check()
    if trouble:
        raise NotAllowed(trouble)
    click.echo("the schema is current")
