"""The console: plain pages that work without a script. Each view of patient data leaves its row in the audit first."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query
from starlette.responses import RedirectResponse, Response

from interfaces.web import marks
from interfaces.web.desk import Desk
from interfaces.web.gate import actor_of
from interfaces.web.rendering import Renderer
from models.audit import Actor
from models.errors import NotAllowed, NotFound
from models.match import Candidate
from models.order import NOT_LINKABLE, Order
from models.recording import Recording, RecordingState
from models.timeline import RecordingStory, Timeline
from models.value import Value

Who = Annotated[Actor, Depends(actor_of)]
Search = Annotated[str, Query(alias="q", max_length=200)]

#: Rows of a list; a search narrows what is older.
MOST_ROWS = 200

#: Orders that a search for a recording's order shows.
MOST_CHOICES = 20


class Choice(Value):
    """An order that a person may link a recording to, with what speaks for and against it.

    Attributes:
        candidate: None for an order that a person searched for; nothing was weighed for it.
        refusal: Why it cannot be chosen, else empty.
    """

    order: Order
    candidate: Candidate | None
    refusal: str


def page_routes(desk: Desk, render: Renderer) -> APIRouter:
    """Return the pages. The gate has let the person in before any of this runs."""
    router = APIRouter(include_in_schema=False)
    _list_routes(router, desk, render)
    _order_routes(router, desk, render)
    _recording_routes(router, desk, render)
    return router


def _list_routes(router: APIRouter, desk: Desk, render: Renderer) -> None:
    @router.get("/")
    def orders(actor: Who, q: Search = "") -> Response:
        text = q.strip()
        found = desk.orders(text=text, limit=MOST_ROWS)
        waiting = _waiting(desk)
        searched = f", search {text!r}" if text else ""
        desk.audit_view(actor, "orders", f"page with {len(found)} orders and {len(waiting)} recordings{searched}")
        return render.page(
            "orders.html", actor, at="orders", orders=found, text=text, waiting_recordings=waiting, most=MOST_ROWS
        )

    @router.get("/recordings")
    def recordings(actor: Who, state: RecordingState | None = None) -> Response:
        found = desk.recordings(state=state or "", limit=MOST_ROWS)
        desk.audit_view(actor, "recordings", f"page with {len(found)} recordings")
        return render.page(
            "recordings.html",
            actor,
            at="recordings",
            recordings=found,
            state=state,
            states=tuple(RecordingState),
            most=MOST_ROWS,
        )


def _order_routes(router: APIRouter, desk: Desk, render: Renderer) -> None:
    @router.get("/orders/{accession:path}")
    def order(accession: str, actor: Who) -> Response:
        timelines = _timelines(desk, accession, actor)
        return render.page(
            "order.html",
            actor,
            at="orders",
            accession=accession,
            timelines=timelines,
            finished=marks.is_finished(timelines),
        )

    @router.get("/fragments/orders/{accession:path}")
    def order_fragment(accession: str, actor: Who) -> Response:
        timelines = _timelines(desk, accession, actor)
        finished = marks.is_finished(timelines)
        return render.bare("_order.html", accession=accession, timelines=timelines, finished=finished)


def _recording_routes(router: APIRouter, desk: Desk, render: Renderer) -> None:
    def settle(recording_id: str, actor: Actor, text: str = "", problem: str = "") -> Response:
        story = desk.recording(recording_id)
        owner = desk.order(story.recording.order_id) if story.recording.order_id else None
        candidates = _candidates(story, desk.candidates(story))
        searched = _searched(desk, text, candidates)
        shown = ", ".join(choice.order.accession or choice.order.id for choice in (*candidates, *searched))
        desk.audit_view(actor, f"recording {recording_id}", f"page; orders shown: {shown or 'none'}")
        return render.page(
            "recording.html",
            actor,
            at="recordings",
            status=409 if problem else 200,
            story=story,
            owner=owner,
            candidates=candidates,
            searched=searched,
            text=text,
            problem=problem,
            may_link=story.recording.state in marks.TO_SETTLE,
        )

    @router.get("/recordings/{recording_id}")
    def recording(recording_id: str, actor: Who, q: Search = "") -> Response:
        return settle(recording_id, actor, q.strip())

    @router.post("/recordings/{recording_id}/link")
    def link(
        recording_id: str,
        actor: Who,
        order_id: Annotated[str, Form(max_length=200)] = "",
        reason: Annotated[str, Form(max_length=1000)] = "",
    ) -> Response:
        if not reason.strip():
            return settle(recording_id, actor, problem="Nothing was linked: say why this is the right order.")
        try:
            desk.link(recording_id, order_id, actor, reason.strip())
        except NotAllowed as error:
            return settle(recording_id, actor, problem=f"Nothing was linked: {error}")
        return RedirectResponse(f"/recordings/{recording_id}", status_code=303)


def _waiting(desk: Desk) -> tuple[Recording, ...]:
    """Return the recordings that wait for a person, most urgent kind first."""
    return tuple(
        recording for state in marks.FOR_A_PERSON for recording in desk.recordings(state=state, limit=MOST_ROWS)
    )


def _timelines(desk: Desk, accession: str, actor: Actor) -> tuple[Timeline, ...]:
    """Return the timelines of an accession number with their events in time order."""
    if not accession:
        raise NotFound("an accession number is missing in the address: search for the order in the list")
    return tuple(
        timeline.model_copy(update={"events": tuple(sorted(timeline.events, key=lambda event: event.at))})
        for timeline in desk.timeline(accession, actor)
    )


def _refusal(order: Order) -> str:
    if order.status not in NOT_LINKABLE:
        return ""
    return f"this order is {marks.words(order.status)}: it must be released or corrected before a video is linked to it"


def _candidates(story: RecordingStory, orders: tuple[Order, ...]) -> tuple[Choice, ...]:
    weighed = {candidate.order_id: candidate for candidate in story.verdict.candidates} if story.verdict else {}
    return tuple(Choice(order=order, candidate=weighed.get(order.id), refusal=_refusal(order)) for order in orders)


def _searched(desk: Desk, text: str, beside: tuple[Choice, ...]) -> tuple[Choice, ...]:
    if not text:
        return ()
    known = {choice.order.id for choice in beside}
    return tuple(
        Choice(order=order, candidate=None, refusal=_refusal(order))
        for order in desk.orders(text=text, limit=MOST_CHOICES)
        if order.id not in known
    )
