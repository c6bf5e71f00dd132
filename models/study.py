"""DICOM identity: SOP classes, transfer syntaxes, and UIDs that a retry can never mint twice (clinical.md 1, 2)."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID, uuid5

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.value import Value

#: Name space of all UIDs that Cinelink derives.
UID_NAMESPACE = UUID("b8b3d0a4-5a8e-5c69-8f43-1d6f0a9e77c1")


class SopClass(StrEnum):
    """The storage SOP classes that video goes into (PS3.4 B.5)."""

    VIDEO_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    VIDEO_MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2.1"
    VIDEO_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
    US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"


#: The modalities that a SOP class allows (PS3.3 A.32.5.3.1, A.32.6.3.1, A.32.7.3.1; C.8.5.6 for ultrasound).
MODALITIES = {
    SopClass.VIDEO_ENDOSCOPIC: frozenset({"ES"}),
    SopClass.VIDEO_MICROSCOPIC: frozenset({"GM"}),
    SopClass.VIDEO_PHOTOGRAPHIC: frozenset({"XC"}),
    SopClass.US_MULTI_FRAME: frozenset({"US", "IVUS"}),
}


class TransferSyntax(StrEnum):
    """The video transfer syntaxes of PS3.5 8.2.5 to 8.2.11; the fragmentable ones (.1) only where a peer takes them."""

    MPEG2_ML = "1.2.840.10008.1.2.4.100"
    MPEG2_ML_FRAGMENTABLE = "1.2.840.10008.1.2.4.100.1"
    MPEG2_HL = "1.2.840.10008.1.2.4.101"
    MPEG2_HL_FRAGMENTABLE = "1.2.840.10008.1.2.4.101.1"
    H264_HIGH_41 = "1.2.840.10008.1.2.4.102"
    H264_HIGH_41_FRAGMENTABLE = "1.2.840.10008.1.2.4.102.1"
    H264_BD_41 = "1.2.840.10008.1.2.4.103"
    H264_BD_41_FRAGMENTABLE = "1.2.840.10008.1.2.4.103.1"
    H264_HIGH_42_2D = "1.2.840.10008.1.2.4.104"
    H264_HIGH_42_2D_FRAGMENTABLE = "1.2.840.10008.1.2.4.104.1"
    H264_HIGH_42_3D = "1.2.840.10008.1.2.4.105"
    H264_HIGH_42_3D_FRAGMENTABLE = "1.2.840.10008.1.2.4.105.1"
    H264_STEREO_42 = "1.2.840.10008.1.2.4.106"
    H264_STEREO_42_FRAGMENTABLE = "1.2.840.10008.1.2.4.106.1"
    HEVC_MAIN_51 = "1.2.840.10008.1.2.4.107"
    HEVC_MAIN10_51 = "1.2.840.10008.1.2.4.108"


def derive_uid(*parts: str) -> str:
    """Return ``2.25.`` and a UUIDv5 of the parts (PS3.5 B.2): the same parts always give the same UID."""
    return f"2.25.{uuid5(UID_NAMESPACE, chr(0x1F).join(parts)).int}"


def derive_study_uid(filler_authority: str, filler_number: str, requested_procedure_id: str) -> str:
    """Return the Study UID of an order that came without one and that the PACS does not know (clinical.md 2)."""
    return derive_uid("study", filler_authority, filler_number, requested_procedure_id)


def derive_series_uid(file_sha256: str, order_id: str, modality: str, sop_class: str) -> str:
    """Return the Series Instance UID: one series for each recording, modality and SOP class (clinical.md 1)."""
    return derive_uid("series", file_sha256, order_id, modality, sop_class)


def derive_sop_uid(
    file_sha256: str, order_id: str, revision: int, kind: str, transfer_syntax: str, sop_class: str, part: int
) -> str:
    """Return the SOP Instance UID: identical bytes for two destinations share it, different bytes never do."""
    return derive_uid("instance", file_sha256, order_id, str(revision), kind, transfer_syntax, sop_class, str(part))


class Instance(Value):
    """One SOP instance: planned before it is made, with the links of its proof chain as they become known.

    Attributes:
        file_sha256: Of the recording's file.
        stream_sha256: Of the encapsulated bit stream without padding; equals ``file_sha256`` for a file passed through
            with nothing blanked.
        path: The Part 10 file that the database commit published; empty before.
        frames: Number of Frames.
    """

    sop_uid: str
    sop_class: str
    transfer_syntax: str
    series_uid: str
    study_uid: str
    order_id: str
    recording_id: str
    modality: str
    series_number: int
    instance_number: int = 1
    series_description: str = ""
    body_part_code: str = ""
    body_part_scheme: str = ""
    body_part_meaning: str = ""
    file_sha256: str
    stream_sha256: str = ""
    path: str = ""
    size: int = 0
    frames: int = 0
    duration: float = 0.0
    plan_kind: str = ""


class InstanceTable(SQLModel, table=True):
    """Every instance that was planned; the SOP Instance UID is the key, so there is never a second one."""

    __tablename__ = "cl_instance"

    sop_uid: str = Field(primary_key=True)
    recording_id: str = Field(index=True, foreign_key="cl_recording.id")
    order_id: str = Field(index=True, foreign_key="cl_order.id")
    study_uid: str = Field(index=True)
    series_uid: str
    series_number: int
    body: str = Field(sa_column=Column(Text, nullable=False))
