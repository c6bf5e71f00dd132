"""Small valid Part 10 files for the tests, drawn and written here; all identities are invented."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from models.delivery import ExpectedInstance
from models.study import SopClass, TransferSyntax


@cache
def drawn_mp4(frames: int = 5) -> bytes:
    """Return a tiny H.264 clip in an MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 40 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def expected(**changes: str) -> ExpectedInstance:
    """Return a fresh identity."""
    values = {
        "sop_uid": generate_uid(),
        "sop_class": SopClass.VIDEO_ENDOSCOPIC.value,
        "series_uid": generate_uid(),
        "study_uid": generate_uid(),
        "accession": "ACC-1001",
        "patient_id": "PAT-1001",
        "issuer_of_patient_id": "SITE",
    }
    return ExpectedInstance(**(values | changes))


def write_video(
    path: Path,
    identity: ExpectedInstance,
    *,
    payload: bytes | None = None,
    transfer_syntax: str = TransferSyntax.H264_HIGH_41,
    patient_name: str = "Muster^Änne",
) -> Path:
    """Write a video object of that identity."""
    dataset = _dataset(identity, patient_name)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = identity.sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = identity.sop_uid
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.PixelData = encapsulate([payload or drawn_mp4()], has_bot=False)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_large(path: Path, identity: ExpectedInstance, megabytes: int) -> Path:
    """Write an object with so many megabytes of zeroes for a payload, without taking them into memory."""
    write_video(path, identity, payload=b"\0\0")
    size = megabytes * 1_000_000
    with path.open("r+b") as file:
        file.seek(-8 - 2 - 4, io.SEEK_END)  # sequence delimiter, the two bytes, their item's length
        file.write(size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)
        file.seek(0, io.SEEK_END)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    return path


def payload_of(path: Path) -> bytes:
    """Return the encapsulated stream of a file with its pad."""
    data: bytes = dcmread(path).PixelData
    first = 8 + int.from_bytes(data[4:8], "little")
    length = int.from_bytes(data[first + 4 : first + 8], "little")
    return data[first + 8 : first + 8 + length]


def _dataset(identity: ExpectedInstance, patient_name: str) -> Dataset:
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPClassUID": identity.sop_class,
        "SOPInstanceUID": identity.sop_uid,
        "StudyDate": "20260203",
        "StudyTime": "101500",
        "AccessionNumber": identity.accession,
        "Modality": "ES",
        "PatientName": patient_name,
        "PatientID": identity.patient_id,
        "PatientBirthDate": "19700102",
        "PatientSex": "F",
        "StudyInstanceUID": identity.study_uid,
        "SeriesInstanceUID": identity.series_uid,
        "StudyID": "RP-1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_PARTIAL_420",
        "PlanarConfiguration": 0,
        "NumberOfFrames": 5,
        "Rows": 48,
        "Columns": 64,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    if identity.issuer_of_patient_id:
        values["IssuerOfPatientID"] = identity.issuer_of_patient_id
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
