"""The attributes of the object, module by module (PS3.3 A.32.5 to A.32.7, A.7), from the order and the mapping row.

Identifiers are never cut: one that does not fit its attribute holds the recording. Texts for people are cut at the
length that the attribute allows. All dates and times are in the recorder's zone, which (0008,0201) names.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime, timezone, tzinfo
from fractions import Fraction
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from converters.payload import Payload
from models.errors import ConversionFailed
from models.order import Code
from models.patient import Authority, Identifier
from models.plan import AudioPlan, ConversionJob, PlanKind
from models.study import SopClass, TransferSyntax, derive_uid

#: Our own Implementation Class UID (PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID = UID(derive_uid("implementation", "cinelink"))

#: Universal Entity ID Type (PS3.3 10.14): what HL7 HD.3 may say too.
_UNIVERSAL_TYPES = frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"})

#: FFmpeg codec -> Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1); other lossy codecs name themselves.
_METHODS = {
    "h264": "ISO_14496_10",
    "hevc": "ISO_23008_2",
    "mpeg2video": "ISO_13818_2",
    "mpeg4": "ISO_14496_2",
    "mjpeg": "ISO_10918_1",
}
_LOSSLESS = frozenset({"rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "v210", "qtrle", "jpegls"})

_HEVC_MAIN10 = TransferSyntax.HEVC_MAIN10_51
_STEREO = frozenset(
    {
        TransferSyntax.H264_HIGH_42_3D,
        TransferSyntax.H264_HIGH_42_3D_FRAGMENTABLE,
        TransferSyntax.H264_STEREO_42,
        TransferSyntax.H264_STEREO_42_FRAGMENTABLE,
    }
)
_AES_SHORT, _AES_LONG = 16, 64


def build(job: ConversionJob, payload: Payload) -> Dataset:
    """Return every attribute but Pixel Data, with the file meta information.

    Raises:
        ConversionFailed: An identifier does not fit its attribute, or a paired organ has no side (clinical.md 10).
    """
    zone = _zone(job)
    dataset = Dataset()
    dataset.file_meta = _file_meta(job)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for module in (_sop_common, _study, _series, _equipment, _acquisition, _image):
        module(dataset, job, zone)
    _patient(dataset, job)
    _laterality(dataset, job)
    _cine(dataset, job, payload)
    _pixels(dataset, job, payload)
    _compression(dataset, job, payload)
    _sound(dataset, job)
    return dataset


def _zone(job: ConversionJob) -> tzinfo:
    """Return the one offset of all dates and times: that of the recorder's clock when it recorded."""
    at = job.started_at or job.written_at
    if job.started_at is None and job.station is not None:
        at = at.astimezone(ZoneInfo(job.station.time_zone))
    offset = at.utcoffset()
    if offset is None:
        raise ConversionFailed("dataset", "a time without a zone reached the converter: give it one")
    return timezone(offset)


def _file_meta(job: ConversionJob) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(job.instance.sop_class)
    meta.MediaStorageSOPInstanceUID = UID(job.instance.sop_uid)
    meta.TransferSyntaxUID = UID(job.plan.transfer_syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = _text(job.software, _AES_SHORT).upper()
    return meta


def _sop_common(dataset: Dataset, job: ConversionJob, zone: tzinfo) -> None:
    """SOP Common (C.12.1)."""
    dataset.SOPClassUID = job.instance.sop_class
    dataset.SOPInstanceUID = job.instance.sop_uid
    written = job.written_at.astimezone(zone)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = _date(written), _time(written)
    dataset.TimezoneOffsetFromUTC = _offset(written)
    dataset.ContributingEquipmentSequence = Sequence([_contribution(job, written)])


def _contribution(job: ConversionJob, written: datetime) -> Dataset:
    """Say what we did to the recording (C.12.1.1.5, CID 7005).

    A transcode processed the pixel data (109102). A stream that stayed as it was has only been fetched from where the
    recorder left it and imported, which is what MEDIM stands for; 109103 is for changed attributes of an object.
    """
    item = Dataset()
    item.Manufacturer = "Cinelink"
    item.ManufacturerModelName = "Cinelink"
    item.SoftwareVersions = _text(job.software, _AES_LONG)
    item.ContributionDateTime = _moment(written)
    if job.plan.kind is PlanKind.TRANSCODE:
        purpose = Code(value="109102", scheme="DCM", meaning="Processing Equipment")
        item.ContributionDescription = "Recording encoded again and encapsulated"
    else:
        purpose = Code(value="MEDIM", scheme="DCM", meaning="Portable Media Importer Equipment")
        item.ContributionDescription = "Recording encapsulated, its coded pictures unchanged"
    item.PurposeOfReferenceCodeSequence = _codes(purpose)
    return item


def _patient(dataset: Dataset, job: ConversionJob) -> None:
    """Patient (C.7.1.1)."""
    patient = job.order.patient
    dataset.PatientName = _text(patient.name.dicom(), _AES_LONG)
    for element, value in _identified(patient.identifier, job.issuer_of_patient_id):
        setattr(dataset, element, value)
    dataset.PatientBirthDate = patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""
    dataset.PatientSex = patient.sex if patient.sex in ("M", "F", "O") else ""
    if others := [other for other in patient.others if other.value]:
        items = []
        for other in others:
            item = Dataset()
            for element, value in _identified(other, ""):
                setattr(item, element, value)
            items.append(item)
        dataset.OtherPatientIDsSequence = Sequence(items)


def _identified(identifier: Identifier, issuer: str) -> list[tuple[str, object]]:
    """Return Patient ID with its issuer (10.14 Issuer of Patient ID Macro)."""
    authority = identifier.authority
    found: list[tuple[str, object]] = [
        ("PatientID", _identity(identifier.value, _AES_LONG, "the patient id")),
        ("TypeOfPatientID", "TEXT"),
    ]
    if name := issuer or authority.namespace or authority.universal_id:
        found.append(("IssuerOfPatientID", _identity(name, _AES_LONG, "the issuer of the patient id")))
    qualifiers = Dataset()
    _universal(qualifiers, authority)
    if identifier.type_code:
        qualifiers.IdentifierTypeCode = _text(identifier.type_code, _AES_SHORT).upper()
    if len(qualifiers):
        found.append(("IssuerOfPatientIDQualifiersSequence", Sequence([qualifiers])))
    return found


def _universal(item: Dataset, authority: Authority) -> None:
    kind = authority.universal_id_type.upper()
    if authority.universal_id and kind in _UNIVERSAL_TYPES:
        item.UniversalEntityID = _text(authority.universal_id, 1024)
        item.UniversalEntityIDType = kind


def _study(dataset: Dataset, job: ConversionJob, zone: tzinfo) -> None:
    """General Study (C.7.2.1) and the visit of Patient Study (C.7.2.2)."""
    order = job.order
    dataset.StudyInstanceUID = job.instance.study_uid
    began = _study_start(job, zone)
    dataset.StudyDate, dataset.StudyTime = (_date(began), _time(began)) if began else ("", "")
    dataset.AccessionNumber = _identity(order.accession, _AES_SHORT, "the accession number")
    if issuer := _accession_issuer(job):
        dataset.IssuerOfAccessionNumberSequence = Sequence([issuer])
    dataset.ReferringPhysicianName = _text(order.referrer.dicom(), _AES_LONG)
    dataset.StudyID = _identity(order.requested_procedure_id, _AES_SHORT, "the requested procedure id")
    if description := _text(order.procedure.meaning or job.procedure.description, _AES_LONG):
        dataset.StudyDescription = description
    if codes := _codes(order.procedure):
        dataset.ProcedureCodeSequence = codes
    if order.visit_number and order.visit_number.value:
        dataset.AdmissionID = _identity(order.visit_number.value, _AES_LONG, "the visit number")


def _study_start(job: ConversionJob, zone: tzinfo) -> datetime | None:
    """Return when the study began: as scheduled if recorded that day, so that all its recordings say the same."""
    scheduled = job.order.scheduled_at.astimezone(zone) if job.order.scheduled_at else None
    began = job.started_at.astimezone(zone) if job.started_at else None
    if scheduled and began and scheduled.date() != began.date():
        return began
    return scheduled or began


def _accession_issuer(job: ConversionJob) -> Dataset | None:
    """Return the issuer of the accession number (10.15 HL7v2 Hierarchic Designator Macro)."""
    item = Dataset()
    if name := job.issuer_of_accession or job.order.accession_authority.namespace:
        item.LocalNamespaceEntityID = _text(name, 1024)
    _universal(item, job.order.accession_authority)
    return item if job.order.accession and len(item) else None


def _series(dataset: Dataset, job: ConversionJob, zone: tzinfo) -> None:
    """General Series (C.7.3.1)."""
    instance, procedure = job.instance, job.procedure
    dataset.Modality = instance.modality
    dataset.SeriesInstanceUID = instance.series_uid
    dataset.SeriesNumber = instance.series_number
    if job.started_at:
        began = job.started_at.astimezone(zone)
        dataset.SeriesDate, dataset.SeriesTime = _date(began), _time(began)
    if description := _text(instance.series_description or procedure.series_description, _AES_LONG):
        dataset.SeriesDescription = description
    if performer := _text(job.order.performer.dicom(), _AES_LONG):
        dataset.PerformingPhysicianName = performer
    if procedure.body_part:
        dataset.BodyPartExamined = _text(procedure.body_part, _AES_SHORT).upper()
    item = _request(job)
    if len(item):
        dataset.RequestAttributesSequence = Sequence([item])


def _request(job: ConversionJob) -> Dataset:
    """Return the Request Attributes (10.6): what was ordered, by the numbers that the order itself carried."""
    order, item = job.order, Dataset()
    if order.accession:
        item.AccessionNumber = _identity(order.accession, _AES_SHORT, "the accession number")
        if issuer := _accession_issuer(job):
            item.IssuerOfAccessionNumberSequence = Sequence([issuer])
    item.StudyInstanceUID = job.instance.study_uid
    if order.requested_procedure_id:
        item.RequestedProcedureID = _identity(order.requested_procedure_id, _AES_SHORT, "the requested procedure id")
    if order.procedure.meaning:
        item.RequestedProcedureDescription = _text(order.procedure.meaning, _AES_LONG)
    if codes := _codes(order.procedure):
        item.RequestedProcedureCodeSequence = codes
    if order.scheduled_step_id:
        item.ScheduledProcedureStepID = _identity(order.scheduled_step_id, _AES_SHORT, "the scheduled step id")
        if job.procedure.description:
            item.ScheduledProcedureStepDescription = _text(job.procedure.description, _AES_LONG)
    if order.reason:
        item.ReasonForTheRequestedProcedure = _text(order.reason, _AES_LONG)
    return item


def _laterality(dataset: Dataset, job: ConversionJob) -> None:
    """Write the side of a paired organ (C.7.6.1.1.1); of an unpaired one it stays away.

    Image Laterality alone says R, L and B; beside it the Laterality of the series may not stand (C.7.3.1).
    """
    if not job.procedure.paired:
        return
    side = job.order.laterality
    if side not in ("R", "L", "B"):
        raise ConversionFailed(
            "dataset", "the procedure is of a paired organ, but the order names no side: have the order corrected"
        )
    dataset.ImageLaterality = side


def _equipment(dataset: Dataset, job: ConversionJob, _zone: tzinfo) -> None:
    """General Equipment (C.7.5.1): the recorder as the ``stations`` table knows it."""
    station = job.station
    dataset.Manufacturer = _text(station.manufacturer, _AES_LONG) if station else ""
    if station is None:
        return
    named = {
        "ManufacturerModelName": _text(station.model, _AES_LONG),
        "DeviceSerialNumber": _text(station.serial, _AES_LONG),
        "StationName": _text(station.station, _AES_SHORT),
        "InstitutionName": _text(station.institution, _AES_LONG),
    }
    for element, value in named.items():
        if value:
            setattr(dataset, element, value)


def _acquisition(dataset: Dataset, job: ConversionJob, zone: tzinfo) -> None:
    """General Acquisition (C.7.10.1) and, for visible light, an empty Acquisition Context (C.7.6.14)."""
    if job.started_at:
        began = job.started_at.astimezone(zone)
        dataset.AcquisitionDateTime = _moment(began)
        dataset.AcquisitionDate, dataset.AcquisitionTime = _date(began), _time(began)
    dataset.AcquisitionNumber = job.instance.instance_number
    if job.facts.duration > 0:
        dataset.AcquisitionDuration = float(job.facts.duration)
    if _visible_light(job):
        dataset.AcquisitionContextSequence = Sequence([])


def _image(dataset: Dataset, job: ConversionJob, zone: tzinfo) -> None:
    """General Image (C.7.6.1), VL Image (C.8.12.1) or US Image (C.8.5.6)."""
    dataset.InstanceNumber = job.instance.instance_number
    dataset.PatientOrientation = None
    began = job.started_at.astimezone(zone) if job.started_at else None
    dataset.ContentDate = _date(began) if began else ""
    if began:  # Type 1C in VL Image: empty is not allowed, and a guess would be wrong
        dataset.ContentTime = _time(began)
    origin = "DERIVED" if job.plan.kind is PlanKind.TRANSCODE else "ORIGINAL"
    dataset.ImageType = [origin, "PRIMARY"]
    if job.plan.kind is PlanKind.TRANSCODE:
        dataset.DerivationDescription = _text("Encoded again for DICOM: " + "; ".join(job.plan.reasons), 1024)
        dataset.DerivationCodeSequence = _codes(Code(value="113040", scheme="DCM", meaning="Lossy Compression"))
    dataset.AnatomicRegionSequence = _codes(job.procedure.region)
    if dataset.AnatomicRegionSequence is None:
        raise ConversionFailed("dataset", "the region code of the procedures table is unusable: correct the row")


def _cine(dataset: Dataset, job: ConversionJob, payload: Payload) -> None:
    """Cine (C.7.6.5) and Multi-frame (C.7.6.6): one constant frame time, named by the pointer."""
    dataset.FrameTime = decimal(1000 / payload.rate)
    rate = max(1, round(payload.rate))
    dataset.CineRate = rate
    dataset.RecommendedDisplayFrameRate = rate
    dataset.EffectiveDuration = decimal(payload.frames / payload.rate)
    dataset.PreferredPlaybackSequencing = 0
    dataset.NumberOfFrames = payload.frames
    dataset.FrameIncrementPointer = 0x00181063
    if job.plan.transfer_syntax in _STEREO:
        dataset.StereoPairsPresent = "YES"


def _pixels(dataset: Dataset, job: ConversionJob, payload: Payload) -> None:
    """Image Pixel (C.7.6.3): what PS3.5 8.2 prescribes for video; no aspect ratio, for pixels are square."""
    deep = job.plan.transfer_syntax == _HEVC_MAIN10
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = payload.rows, payload.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (16, 10, 9) if deep else (8, 8, 7)
    dataset.PixelRepresentation = 0
    dataset.EncapsulatedPixelDataValueTotalLength = payload.size


def _compression(dataset: Dataset, job: ConversionJob, payload: Payload) -> None:
    """Lossy compression with its history, one method and ratio for each step (C.7.6.1.1.5)."""
    facts = job.facts
    before = Fraction(facts.width * facts.height * 3 * facts.frames, max(1, facts.size))
    after = Fraction(payload.columns * payload.rows * 3 * payload.frames, max(1, payload.size))
    steps = [] if facts.codec in _LOSSLESS else [(_METHODS.get(facts.codec, _text(facts.codec, 16).upper()), before)]
    if job.plan.kind is PlanKind.TRANSCODE:
        steps.append(("ISO_14496_10", after))
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = [method for method, _ in steps]
    dataset.LossyImageCompressionRatio = [f"{float(ratio):.2f}" for _, ratio in steps]


def _sound(dataset: Dataset, job: ConversionJob) -> None:
    """Describe the sound that is in the stream (C.7.6.5.1.3, CID 3000).

    Without sound the note there wants an empty sequence, which validators report as an error: a setting decides.
    """
    kept = job.plan.audio in (AudioPlan.KEEP, AudioPlan.ENCODE)
    if not kept:
        if job.empty_audio_sequence:
            dataset.MultiplexedAudioChannelsDescriptionCodeSequence = Sequence([])
        return
    mono = job.plan.audio is AudioPlan.KEEP and bool(job.facts.audio) and job.facts.audio[0].channels == 1
    item = Dataset()
    item.ChannelIdentificationCode = 1
    item.ChannelMode = "MONO" if mono else "STEREO"
    doppler = Code(value="109113", scheme="DCM", meaning="Doppler audio")
    room = Code(value="109112", scheme="DCM", meaning="Ambient room environment")
    item.ChannelSourceSequence = _codes(room if _visible_light(job) else doppler)
    dataset.MultiplexedAudioChannelsDescriptionCodeSequence = Sequence([item])


def _visible_light(job: ConversionJob) -> bool:
    return job.instance.sop_class != SopClass.US_MULTI_FRAME


def _codes(code: Code) -> Sequence | None:
    """Return one Code Sequence item (8.8), or None for a code that no item can carry whole."""
    value, scheme = _clean(code.value), _clean(code.scheme) or "L"
    if not value or len(scheme) > _AES_SHORT:
        return None
    item = Dataset()
    if len(value) <= _AES_SHORT:
        item.CodeValue = value
    else:
        item.LongCodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = _text(code.meaning, _AES_LONG) or _text(value, _AES_LONG)
    return Sequence([item])


def decimal(value: Fraction | float) -> str:
    """Return a DS of at most 16 characters (PS3.5 6.2), as exact as they allow."""
    for digits in range(10, 0, -1):
        text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
        if len(text) <= _AES_SHORT:
            return text
    return f"{float(value):.9e}"


def _identity(value: str, most: int, what: str) -> str:
    """Return an identifier as it is.

    Raises:
        ConversionFailed: It does not fit; it is never cut (clinical.md 2).
    """
    if len(value) > most or "\\" in value or _clean(value) != value:
        raise ConversionFailed(
            "dataset", f"{what} does not fit into {most} characters without backslash: have the order corrected"
        )
    return value


def _clean(value: str) -> str:
    """Return a text without control characters, backslashes and outer blanks."""
    bad = ("Cc", "Cs")
    return "".join(" " if letter == "\\" or unicodedata.category(letter) in bad else letter for letter in value).strip()


def _text(value: str, most: int) -> str:
    return _clean(value)[:most].rstrip()


def _date(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def _time(at: datetime) -> str:
    return at.strftime("%H%M%S.%f") if at.microsecond else at.strftime("%H%M%S")


def _moment(at: datetime) -> str:
    return _date(at) + _time(at) + _offset(at)


def _offset(at: datetime) -> str:
    """Return ``+HHMM``; UTC is ``+0000``, for ``-0000`` is not allowed (C.12.1)."""
    return at.strftime("%z")[:5]
