"""Figures, words and marks: nothing is rounded into certainty, nothing hides, and no state is without a sign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from interfaces.web import marks
from interfaces.web.rendering import (
    duration,
    moment,
    percent,
    person,
    shortened,
    size,
    stream,
    transfer_syntax,
    visible,
)
from models.delivery import DeliveryState, Outcome
from models.match import Evidence
from models.order import OrderStatus
from models.patient import PersonName
from models.recording import RecordingState
from models.study import TransferSyntax
from tests.samples import facts, order


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "0 %"),
        (0.0004, "under 0.1 %"),
        (0.61, "61.0 %"),
        (0.9899, "98.9 %"),
        (0.99995, "over 99.99 %"),
        (1.0, "100 %"),
    ],
)
def test_a_probability_is_never_rounded_up(probability: float, words: str) -> None:
    assert percent(probability) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MRN0042", "MRN0042"),
        ("Müller-Lüdenscheidt", "Müller-Lüdenscheidt"),
        ("علی‌رضا", "علی‌رضا"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("a\u2066b", "a⟨U+2066⟩b"),
        ("a\x00b\x1b", "a⟨U+0000⟩b⟨U+001B⟩"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_what_reorders_or_hides_is_named_and_all_else_is_left(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_hash_keeps_its_beginning_and_end_and_words_stay_whole() -> None:
    assert shortened("ab" * 32 + " (identical to the file)") == "ababababab…ababab (identical to the file)"
    assert shortened("held under the expected patient") == "held under the expected patient"
    assert shortened("ImagingStudy/0123456789abcdef0123 version 1") == "ImagingStudy/0123456789abcdef0123 version 1"


def test_a_moment_is_told_in_utc_whatever_zone_it_came_in() -> None:
    at = datetime(2026, 11, 23, 11, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert moment(at) == '<time datetime="2026-11-23T10:04:05.000+00:00">2026-11-23 10:04:05 UTC</time>'
    assert moment(at.astimezone(UTC)) == moment(at)
    assert moment(None) == ""


@pytest.mark.parametrize(("seconds", "words"), [(20.04, "20.0 s"), (1144, "19 min 04 s"), (7322.6, "2 h 02 min 03 s")])
def test_a_duration_is_told_in_usual_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (148_000_000, "148.0 MB"), (2e12, "2000.0 GB")]
)
def test_a_size_is_told_in_usual_units(count: int, words: str) -> None:
    assert size(count) == words


def test_a_name_has_all_its_parts_and_none_is_invented() -> None:
    assert person(PersonName(family="Okafor", given="Daniel", prefix="Dr", suffix="Jr")) == "Okafor, Dr Daniel Jr"
    assert person(PersonName(given="Ana")) == "Ana"
    assert person(PersonName()) == ""


def test_a_stream_is_told_in_one_line() -> None:
    ntsc = facts(fps="30000/1001", size=1_200_000_000, duration=1144.0)
    assert stream(ntsc) == "H.264 High 4.1 · 1920×1080 · 29.97 frames/s · 19 min 04 s · 1.2 GB · no sound"  # noqa: RUF001


def test_every_transfer_syntax_has_a_name_and_an_unknown_one_keeps_its_uid() -> None:
    names = {transfer_syntax(member) for member in TransferSyntax}
    assert len(names) == len(TransferSyntax)
    assert not [name for name in names if name.startswith("1.2.")]
    assert transfer_syntax("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"


def test_every_state_has_a_sign_and_a_word() -> None:
    found = [
        *(marks.recording_mark(state) for state in RecordingState),
        *(marks.order_mark(order(status=status)) for status in OrderStatus),
        *(marks.delivery_mark(state) for state in DeliveryState),
        *(marks.outcome_mark(outcome) for outcome in Outcome),
    ]
    assert all(mark.sign and mark.word and mark.tone in {"ok", "owed", "warn", "bad", "quiet"} for mark in found)


def test_sent_is_never_shown_as_done() -> None:
    assert marks.delivery_mark(DeliveryState.SENT).tone == "owed"
    assert marks.delivery_mark(DeliveryState.SENT).word == "sent, not proven"
    assert marks.recording_mark(RecordingState.STORED).tone == "owed"


def test_a_contradiction_is_a_cross_whatever_its_outcome_is_called() -> None:
    evidence = Evidence(signal="name", outcome="agrees", group="sidecar", ratio=1, contradiction=True, words="")
    assert marks.evidence_mark(evidence).sign == "✕"
