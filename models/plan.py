"""What will be done with a video, why in plain words, and what came of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from models.mapping import ProcedureRow, StationRow
from models.order import Order
from models.recording import PrivateBox, StreamFacts
from models.study import Instance
from models.value import Value


class PlanKind(StrEnum):
    """Passthrough: the file's bytes. Remux: the streams untouched in a new MP4. Transcode: encoded again."""

    PASSTHROUGH = "passthrough"
    REMUX = "remux"
    TRANSCODE = "transcode"


class AudioPlan(StrEnum):
    """What happens to the sound (clinical.md 11)."""

    NONE = "none"
    KEEP = "keep"
    DROP = "drop"
    ENCODE = "encode"


class ConversionPlan(Value):
    """The decision, with its reasons.

    Attributes:
        transfer_syntax: UID of the syntax that the object will have.
        sop_class: UID.
        reasons: Plain sentences, e.g. ``re-encoded: Main profile, DICOM needs High (PS3.5 8.2.7)``.
        blanked: Boxes of the file that are blanked in place; empty for a transcode, which writes no such box.
        width: Columns of the result.
        height: Rows of the result.
        fps: Rate of the result.
        mapping_version: The version of the mapping tables that was used.
    """

    kind: PlanKind
    transfer_syntax: str
    sop_class: str
    modality: str
    reasons: tuple[str, ...]
    audio: AudioPlan = AudioPlan.NONE
    blanked: tuple[PrivateBox, ...] = ()
    width: int
    height: int
    fps: str
    mapping_version: int = 0


class ConversionJob(Value):
    """Everything that the child process needs to write one object. No clock and no settings reach it otherwise.

    Attributes:
        source: Absolute path of the file, whose SHA-256 must still be ``facts.sha256``.
        output: Absolute path of the Part 10 file to write; must not exist.
        started_at: When the recording began, aware, in the station's zone; None leaves acquisition times out.
        written_at: Aware; Instance Creation and Contributing Equipment time.
        software: ``Cinelink 0.1.0``.
        issuer_of_patient_id: DICOM issuer from the ``authorities`` table.
        issuer_of_accession: As above.
        empty_audio_sequence: Write the empty audio sequence of PS3.3 C.7.6.5.1.3 for video without sound.
    """

    source: str
    output: str
    facts: StreamFacts
    plan: ConversionPlan
    order: Order
    instance: Instance
    procedure: ProcedureRow
    station: StationRow | None = None
    started_at: datetime | None = None
    written_at: datetime
    software: str
    issuer_of_patient_id: str = ""
    issuer_of_accession: str = ""
    empty_audio_sequence: bool = False


class Check(Value):
    """One check of the written object: what, whether it held, and the figure."""

    name: str
    passed: bool
    figure: str


class ConversionResult(Value):
    """What was written, read back and checked.

    Attributes:
        stream_sha256: Of the bit stream without padding, as read back from the written file.
        stream_size: Bytes of it.
        psnr: Mean dB against the source for a transcode, else None.
    """

    path: str
    size: int
    sha256: str
    stream_sha256: str
    stream_size: int
    frames: int
    rows: int
    columns: int
    checks: tuple[Check, ...]
    psnr: float | None = None
