"""From values to HTML: the templates, and the few words and figures that they need."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from interfaces.web import marks
from interfaces.web.desk import Desk
from models.audit import Actor
from models.patient import Identifier, Patient, PersonName
from models.recording import StreamFacts
from models.study import SopClass, TransferSyntax

TEMPLATES = Path(__file__).parent / "templates"

#: Characters that reorder or hide others, so that one identifier could be read as another: bidi marks and controls,
#: and characters without width. The joiners U+200C and U+200D stay: names are spelled with them.
_DECEIVING = frozenset(
    chr(code)
    for first, last in ((0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x2069), (0x61C, 0x61C))
    for code in range(first, last + 1)
) | {"\ufeff", "\u00ad"}

_LONGEST_WHOLE = 22
_CODECS = {"h264": "H.264", "hevc": "HEVC", "mpeg2video": "MPEG-2"}
_SEXES = {"M": "male", "F": "female", "O": "other"}


def visible(text: str) -> str:
    """Return a text in which nothing hides: what reorders, has no width or cannot be printed is named instead."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"⟨U+{ord(letter):04X}⟩" if _hides(letter) else letter for letter in text)


def _hides(letter: str) -> bool:
    return letter in _DECEIVING or (unicodedata.category(letter) in {"Cc", "Cs"} and letter not in "\n\t")


def printed(value: Any) -> Any:
    """Prepare every value that a template prints (Jinja's ``finalize``)."""
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def moment(at: datetime | None) -> Markup:
    """Return a moment as a ``time`` element in UTC; the page's script adds the reader's own time beside it."""
    if at is None:
        return Markup("")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="milliseconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )


def minute(at: datetime | None) -> Markup:
    """Return a moment as ``moment`` does, to the minute: for schedules, which are no finer."""
    if at is None:
        return Markup("")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="minutes"), utc.strftime("%Y-%m-%d %H:%M")
    )


def percent(probability: float) -> str:
    """Return a probability that is never rounded up to certainty."""
    if probability <= 0 or probability >= 1:
        return "100 %" if probability >= 1 else "0 %"
    if probability > 0.9999:  # noqa: PLR2004 - the last figure that two digits show
        return "over 99.99 %"
    figure = math.floor(probability * 1000) / 10
    return f"{figure:.1f} %" if figure else "under 0.1 %"


def size(count: int) -> str:
    """Return bytes in the largest unit that leaves a figure above one."""
    figure = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if figure < 1000 or unit == "GB":  # noqa: PLR2004 - SI units
            return f"{figure:.0f} {unit}" if unit == "B" else f"{figure:.1f} {unit}"
        figure /= 1000
    raise AssertionError(count)


def duration(seconds: float) -> str:
    """Return ``19 min 04 s`` or ``20.0 s``."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min {rest:02d} s" if hours else f"{minutes} min {rest:02d} s"


def shortened(text: str) -> str:
    """Return a text whose long words (hashes, UIDs) keep only their beginning and their end."""
    return " ".join(
        word if len(word) <= _LONGEST_WHOLE or "/" in word else f"{word[:10]}…{word[-6:]}" for word in text.split(" ")
    )


def person(name: PersonName) -> str:
    """Return ``Muster, Ana`` with all that the name has."""
    given = " ".join(part for part in (name.prefix, name.given, name.middle, name.suffix) if part)
    return ", ".join(part for part in (name.family, given) if part)


def numbered(identifier: Identifier | None) -> str:
    """Return a number with the authority that gave it: ``MRN0042 (DEMO)``."""
    if identifier is None or not identifier.value:
        return ""
    return f"{identifier.value} ({identifier.authority.key})" if identifier.authority.key else identifier.value


def sex(patient: Patient) -> str:
    """Return the patient's sex as a word."""
    return _SEXES.get(patient.sex, "not stated")


def stream(facts: StreamFacts) -> str:
    """Return what a video is, in one line."""
    level = f" {facts.level / 10:.1f}" if facts.codec == "h264" and facts.level else ""
    rate = float(facts.rate)
    parts = [
        f"{_CODECS.get(facts.codec, facts.codec)} {facts.profile}{level}".strip(),
        f"{facts.width}×{facts.height}",  # noqa: RUF001 - the sign for dimensions
        f"{rate:.2f} frames/s" if rate % 1 else f"{rate:.0f} frames/s",
        duration(facts.duration),
        size(facts.size),
        "with sound" if facts.audio else "no sound",
    ]
    return " · ".join(parts)


_SOP_CLASSES = {member.value: member.name.replace("_", " ").capitalize() for member in SopClass}


def sop_class(uid: str) -> str:
    """Return the name of a storage SOP class (PS3.4 B.5)."""
    return _SOP_CLASSES.get(uid, uid)


_SYNTAXES: dict[str, str] = {
    TransferSyntax.MPEG2_ML: "MPEG-2 Main Level",
    TransferSyntax.MPEG2_HL: "MPEG-2 High Level",
    TransferSyntax.H264_HIGH_41: "H.264 High 4.1",
    TransferSyntax.H264_BD_41: "H.264 Blu-ray 4.1",
    TransferSyntax.H264_HIGH_42_2D: "H.264 High 4.2, 2D",
    TransferSyntax.H264_HIGH_42_3D: "H.264 High 4.2, 3D",
    TransferSyntax.H264_STEREO_42: "H.264 Stereo 4.2",
    TransferSyntax.HEVC_MAIN_51: "HEVC Main 5.1",
    TransferSyntax.HEVC_MAIN10_51: "HEVC Main 10 5.1",
}


def transfer_syntax(uid: str) -> str:
    """Return the name of a video transfer syntax (PS3.5 8.2.5 to 8.2.11)."""
    if uid in _SYNTAXES:
        return _SYNTAXES[uid]
    base = uid.removesuffix(".1")
    return f"{_SYNTAXES[base]}, fragmentable" if base in _SYNTAXES else uid


def order_address(accession: str) -> str:
    """Return the page of an accession number, which may hold any character but a backslash (PS3.5 6.2 SH)."""
    return f"/orders/{quote(accession, safe='')}"


_TOOLS = (
    moment,
    minute,
    percent,
    size,
    duration,
    shortened,
    person,
    numbered,
    sex,
    stream,
    sop_class,
    transfer_syntax,
    order_address,
    marks.words,
    marks.recording_mark,
    marks.order_mark,
    marks.media_mark,
    marks.delivery_mark,
    marks.outcome_mark,
    marks.evidence_mark,
    marks.proof_mark,
    marks.passed_mark,
)


def environment() -> Environment:
    """Return the templates' environment: everything is escaped, and nothing may be missing."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({tool.__name__: tool for tool in _TOOLS})
    return made


class Renderer:
    """Renders pages; each signed-in page carries the bar with health and counts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._environment = environment()

    def bare(self, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page that needs nobody to be signed in, or a fragment of one."""
        return HTMLResponse(self._environment.get_template(template).render(values), status_code=status)

    def page(self, template: str, actor: Actor, *, at: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a whole page for someone who is signed in."""
        health = self._desk.health()
        waiting = sum(health.waiting(f"recordings {state}") for state in marks.FOR_A_PERSON)
        return self.bare(template, status=status, actor=actor, at=at, health=health, waiting=waiting, **values)
