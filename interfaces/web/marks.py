"""How a state looks: a tone, a sign and a word, so that colour never says anything alone."""

from __future__ import annotations

from models.delivery import DeliveryState, Outcome
from models.match import Evidence
from models.order import Order, OrderStatus
from models.recording import RecordingState
from models.timeline import ProofLink, Timeline
from models.value import Value


class Mark(Value):
    """A state for people.

    Attributes:
        tone: ``ok``, ``owed``, ``warn``, ``bad`` or ``quiet``: a class in the style sheet.
        sign: One character.
        word: What it says.
    """

    tone: str
    sign: str
    word: str


_SIGNS = {"ok": "✓", "owed": "○", "warn": "!", "bad": "✕", "quiet": "-"}


def _mark(tone: str, word: str) -> Mark:
    return Mark(tone=tone, sign=_SIGNS[tone], word=word)


_RECORDING_TONES = {
    RecordingState.NEEDS_REVIEW: "warn",
    RecordingState.HELD: "warn",
    RecordingState.PROVEN: "ok",
    RecordingState.REPORTED: "ok",
    RecordingState.REJECTED: "bad",
    RecordingState.FAILED: "bad",
    RecordingState.DUPLICATE: "quiet",
}

_ORDER_MARKS = {
    OrderStatus.SCHEDULED: _mark("owed", "scheduled"),
    OrderStatus.IN_PROGRESS: Mark(tone="owed", sign="◐", word="in progress"),
    OrderStatus.COMPLETED: _mark("ok", "completed"),
    OrderStatus.HELD: _mark("warn", "held"),
    OrderStatus.CANCELLED: _mark("bad", "cancelled"),
    OrderStatus.DISCONTINUED: _mark("bad", "discontinued"),
}

_DELIVERY_MARKS = {
    DeliveryState.QUEUED: _mark("owed", "queued"),
    DeliveryState.WAITING: _mark("warn", "waiting"),
    DeliveryState.SENDING: _mark("owed", "sending"),
    DeliveryState.SENT: _mark("owed", "sent, not proven"),
    DeliveryState.DONE: _mark("ok", "done"),
    DeliveryState.FAILED: _mark("bad", "failed"),
}

_OUTCOME_TONES = {
    Outcome.OPEN: "owed",
    Outcome.SENT: "owed",
    Outcome.DONE: "ok",
    Outcome.UNREACHABLE: "warn",
    Outcome.UNKNOWN: "warn",
    Outcome.UNPROVEN: "warn",
    Outcome.DECLINED: "bad",
}

_EVIDENCE_MARKS = {
    "agrees": _mark("ok", "agrees"),
    "near": Mark(tone="warn", sign="≈", word="near"),
    "differs": _mark("bad", "differs"),
}

#: A recording in one of these has a step of ours before it.
_UNDER_WAY = frozenset(
    {
        RecordingState.ARRIVING,
        RecordingState.READY,
        RecordingState.PROBED,
        RecordingState.LINKED,
        RecordingState.CONVERTED,
        RecordingState.STORED,
        RecordingState.PROVEN,
    }
)

#: A delivery in one of these has ended.
_ENDED = frozenset({DeliveryState.DONE, DeliveryState.FAILED})

#: What a person is asked to look at, most urgent first.
FOR_A_PERSON = (RecordingState.NEEDS_REVIEW, RecordingState.HELD, RecordingState.FAILED)

#: A person may choose the order of a recording in one of these.
TO_SETTLE = frozenset({RecordingState.NEEDS_REVIEW, RecordingState.HELD})


def words(state: str) -> str:
    """Return ``needs_review`` as ``needs review``, and ``order.media_complete`` as ``order media complete``."""
    return state.replace("_", " ").replace(".", " ")


def recording_mark(state: RecordingState) -> Mark:
    """Return how a recording's state looks."""
    return _mark(_RECORDING_TONES.get(state, "owed"), words(state))


def order_mark(order: Order) -> Mark:
    """Return how the order's own status looks; the word is its owner's."""
    return _ORDER_MARKS[order.status]


def media_mark(order: Order) -> Mark:
    """Return how our own mark looks."""
    return _mark("ok", "media complete") if order.media_complete else _mark("owed", "media not complete")


def delivery_mark(state: DeliveryState) -> Mark:
    """Return how a delivery's state looks."""
    return _DELIVERY_MARKS[state]


def outcome_mark(outcome: Outcome) -> Mark:
    """Return how one attempt's end looks."""
    return _mark(_OUTCOME_TONES[outcome], "no answer yet" if outcome == Outcome.OPEN else outcome.value)


def evidence_mark(evidence: Evidence) -> Mark:
    """Return how one signal looks; a contradiction is never less than a cross."""
    if evidence.contradiction:
        return _mark("bad", "contradicts")
    return _EVIDENCE_MARKS.get(evidence.outcome, _mark("quiet", evidence.outcome))


def proof_mark(link: ProofLink) -> Mark:
    """Return how one link of the proof chain looks."""
    if link.holds is None:
        return _mark("owed", "owed")
    return _mark("ok", "ok") if link.holds else _mark("bad", "failed")


def passed_mark(passed: bool) -> Mark:  # noqa: FBT001 - used as a template filter
    """Return how one check of the written object looks."""
    return _mark("ok", "passed") if passed else _mark("bad", "failed")


def is_finished(timelines: tuple[Timeline, ...]) -> bool:
    """Say whether nothing more will happen by itself, so that the page need not look again.

    An order that still waits for its first recording is not finished, unless it came to an end of its own.
    """
    return all(_is_finished(timeline) for timeline in timelines)


def _is_finished(timeline: Timeline) -> bool:
    if any(story.recording.state in _UNDER_WAY for story in timeline.recordings):
        return False
    if any(story.delivery.state not in _ENDED for story in timeline.deliveries):
        return False
    ended = timeline.order.status in {OrderStatus.CANCELLED, OrderStatus.DISCONTINUED}
    return timeline.order.media_complete or ended
