"""One incoming video file: what it is, where it stands, and what may happen next."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.errors import NotAllowed
from models.value import UtcDateTime, Value


class RecordingState(StrEnum):
    """Where a recording stands (DESIGN 4). ``held`` is a link whose procedure may not be converted yet."""

    ARRIVING = "arriving"
    READY = "ready"
    PROBED = "probed"
    LINKED = "linked"
    NEEDS_REVIEW = "needs_review"
    HELD = "held"
    CONVERTED = "converted"
    STORED = "stored"
    PROVEN = "proven"
    REPORTED = "reported"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    FAILED = "failed"


S = RecordingState

#: What may follow what. A failed recording may be tried again from the stage that failed.
LEGAL: dict[RecordingState, frozenset[RecordingState]] = {
    S.ARRIVING: frozenset({S.READY, S.REJECTED, S.FAILED}),
    S.READY: frozenset({S.PROBED, S.REJECTED, S.DUPLICATE, S.FAILED}),
    S.PROBED: frozenset({S.LINKED, S.NEEDS_REVIEW, S.FAILED}),
    S.NEEDS_REVIEW: frozenset({S.LINKED, S.REJECTED}),
    S.LINKED: frozenset({S.CONVERTED, S.HELD, S.NEEDS_REVIEW, S.FAILED}),
    S.HELD: frozenset({S.LINKED, S.NEEDS_REVIEW}),
    S.CONVERTED: frozenset({S.STORED, S.NEEDS_REVIEW, S.FAILED}),
    S.STORED: frozenset({S.PROVEN, S.NEEDS_REVIEW, S.FAILED}),
    S.PROVEN: frozenset({S.REPORTED, S.FAILED}),
    S.REPORTED: frozenset(),
    S.REJECTED: frozenset({S.READY}),
    S.DUPLICATE: frozenset(),
    S.FAILED: frozenset({S.READY, S.PROBED, S.LINKED, S.CONVERTED, S.STORED, S.PROVEN}),
}


def require_transition(old: RecordingState, new: RecordingState) -> None:
    """Raise NotAllowed unless ``new`` may follow ``old``."""
    if new not in LEGAL[old]:
        raise NotAllowed(f"a recording that is {old} cannot become {new}; look at its timeline for what it waits for")


class AudioFacts(Value):
    """One audio stream: codec as FFmpeg names it, sample rate in Hz, channels."""

    codec: str
    sample_rate: int
    channels: int


class PrivateBox(Value):
    """A box of an MP4 file that holds position, owner or free text: blanked in place, never the picture data.

    Attributes:
        offset: Byte offset of the box in the file.
        size: Whole size of the box in bytes, with its header.
        header: Bytes of the header (8 or 16) that stay, with the type replaced by ``free``.
        name: Path of the box, e.g. ``moov/udta``.
    """

    offset: int
    size: int
    header: int
    name: str


class StreamFacts(Value):
    """What ``probe`` read from headers and the packet index, never by decoding the whole (DESIGN 8).

    Attributes:
        container: ``mp4``, ``mov``, ``matroska``, ``avi``, ``mpegts``, ``mpeg`` or another FFmpeg format name.
        size: Bytes.
        sha256: Of the whole file, hex.
        codec: ``h264``, ``hevc``, ``mpeg2video`` or another FFmpeg codec name.
        profile: The profile's name from the parameter sets, e.g. ``High``.
        level: Level times ten for H.264 (41), times thirty for HEVC (153); 0 when unknown.
        level_needed: The lowest H.264 level that the content really needs, times ten; 0 when unknown.
        chroma: ``4:2:0``, ``4:2:2``, ``4:4:4`` or ``4:0:0``.
        width: Displayed columns, before rotation.
        height: Displayed rows, before rotation.
        frames: Exact number of coded frames that can be shown.
        fps: Nominal rate as ``30000/1001``.
        variable_rate: True when frame durations differ by more than the container's rounding.
        rotation: Clockwise degrees to turn for display: 0, 90, 180, 270.
        pixel_aspect: Sample aspect ratio as ``1:1``.
        hdr: ``pq``, ``hlg`` or empty.
        stereo: True for frame packing or multi-view.
        duration: Seconds.
        created_at: From the container, aware; None when absent, unset (1970, 1904, 2000) or unreadable.
        device: Make and model from the container.
        texts: Free-text metadata of the container (``title`` and so on), a source of claims.
        defects: Sentences on what is odd but usable.
        codec_tag: The sample entry (``avc1``, ``avc3``, ``hvc1``...), empty outside MP4.
        other_streams: Data tracks (``tmcd``...), a reason to remux.
        private_boxes: What will be blanked.
    """

    container: str
    brand: str = ""
    size: int
    sha256: str
    codec: str
    codec_tag: str = ""
    profile: str = ""
    level: int = 0
    level_needed: int = 0
    chroma: str = "4:2:0"
    bit_depth: int = 8
    interlaced: bool = False
    width: int
    height: int
    frames: int
    fps: str
    variable_rate: bool = False
    rotation: int = 0
    pixel_aspect: str = "1:1"
    full_range: bool = False
    hdr: str = ""
    stereo: bool = False
    duration: float
    fragmented: bool = False
    edited: bool = False
    moov_first: bool = True
    starts_with_key_frame: bool = True
    audio: tuple[AudioFacts, ...] = ()
    video_streams: int = 1
    other_streams: tuple[str, ...] = ()
    created_at: datetime | None = None
    device: str = ""
    texts: dict[str, str] = {}
    defects: tuple[str, ...] = ()
    private_boxes: tuple[PrivateBox, ...] = ()

    @property
    def rate(self) -> Fraction:
        """Frames in a second as an exact fraction."""
        return Fraction(self.fps)


class Claim(Value):
    """What one source says about a recording: a key and a value, e.g. ``accession`` = ``E1001``.

    Attributes:
        source: ``file name``, ``folder``, ``sidecar``, ``container``, ``code in picture``.
        group: Sources written by one login share a group and count once (clinical.md 3).
        key: accession, placer, filler, study_uid, scheduled_step_id, patient_id, family, given, birth_date,
            station, started_at, performer.
    """

    source: str
    group: str
    key: str
    value: str


#: Keys that name an order by themselves (clinical.md 3).
ORDER_GRADE = frozenset({"accession", "placer", "filler", "study_uid", "scheduled_step_id"})


class Recording(Value):
    """One recording as it stands.

    Attributes:
        id: UUID text.
        path: Absolute path of the source file, which is never changed.
        folder: The watch folder or upload door that it came through.
        station: The station of that folder, from ``stations``; empty when unknown.
        doubts: What was wrong with its name or sidecar, in sentences; a recording with one is never linked by itself.
        started_at: When the recording began, aware, from sidecar, name or container; None when unknown.
        order_id: The order that it is linked to.
        stage: The step that failed, when failed.
        revision: 1, and one more for every new object made from it for another order.
    """

    id: str
    state: RecordingState
    path: str
    name: str
    folder: str
    station: str = ""
    size: int = 0
    modified_ns: int = 0
    seen_at: datetime
    sha256: str = ""
    facts: StreamFacts | None = None
    claims: tuple[Claim, ...] = ()
    doubts: tuple[str, ...] = ()
    started_at: datetime | None = None
    order_id: str = ""
    reason: str = ""
    stage: str = ""
    revision: int = 1
    attempt: int = 0


class RecordingTable(SQLModel, table=True):
    """The recording as it stands, with its keys as columns and the whole value as JSON."""

    __tablename__ = "cl_recording"

    id: str = Field(primary_key=True)
    state: str = Field(index=True)
    path: str = Field(sa_column=Column(Text, nullable=False, index=True))
    sha256: str = Field(default="", index=True)
    order_id: str = Field(default="", index=True)
    station: str = Field(default="", index=True)
    attempt: int = 0
    seen_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    updated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    next_attempt_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime, nullable=True, index=True))
    body: str = Field(sa_column=Column(Text, nullable=False))
