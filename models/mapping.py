"""The mapping tables: one pydantic row model for each, versions, and pure look-ups.

A row model declares columns, choices and checks; the reader, the CSV round trip, the grid and the API derive from it
(DESIGN 9). A code that is not in a table is never guessed.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field as Column_
from pydantic import field_validator, model_validator
from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.errors import MappingMiss
from models.order import Code, OrderAction
from models.patient import Authority
from models.study import MODALITIES, SopClass, TransferSyntax
from models.value import UtcDateTime, Value

ANY = "*"


class Policy(StrEnum):
    """What happens to a value that a table does not have."""

    HOLD = "hold"
    DEFAULT = "default"
    REFUSE = "refuse"


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{value!r} is no IANA time zone; write for example Europe/Zurich"
        raise ValueError(message) from error
    return value


class SopClassName(StrEnum):
    """How the ``procedures`` table names a SOP class."""

    VIDEO_ENDOSCOPIC = "video-endoscopic"
    VIDEO_MICROSCOPIC = "video-microscopic"
    VIDEO_PHOTOGRAPHIC = "video-photographic"
    US_MULTI_FRAME = "us-multi-frame"

    @property
    def uid(self) -> SopClass:
        """The SOP Class UID."""
        return SopClass[self.name]


class ProcedureRow(Value):
    """Procedure code -> what the object will be. Key: code, scheme, sender."""

    key_columns: ClassVar[tuple[str, ...]] = ("code", "scheme", "sender")
    table: ClassVar[str] = "procedures"
    policy: ClassVar[Policy] = Policy.HOLD

    code: str = Column_(description="Procedure code as the order carries it (OBR-44.1, else OBR-4.1)")
    scheme: str = Column_(default=ANY, description="Coding scheme of the code (OBR-4.3), or * for any")
    sender: str = Column_(default=ANY, description="Sending application this row is for, or * for any")
    description: str = Column_(default="", description="What it is, for people")
    modality: str = Column_(description="DICOM modality: ES, GM, XC, US or IVUS")
    sop_class: SopClassName = Column_(description="Kind of DICOM object")
    body_part: str = Column_(default="", description="Body Part Examined term (PS3.16 Annex L)")
    region_code: str = Column_(description="Anatomic region code (CID 4040 for endoscopy, 4031 otherwise)")
    region_scheme: str = Column_(default="SCT", description="Coding scheme of the region")
    region_meaning: str = Column_(description="Meaning of the region code")
    paired: bool = Column_(default=False, description="Paired organ: the order must then say R, L or B")
    series_description: str = Column_(default="", description="Series Description of the object")
    audio: Literal["drop", "keep"] = Column_(default="drop", description="What happens to the sound")
    hold: str = Column_(default="", description="A reason to hold every video of this procedure; empty for none")
    fhir_system: str = Column_(default="", description="FHIR code system of the procedure")
    fhir_code: str = Column_(default="", description="FHIR code of the procedure")
    fhir_display: str = Column_(default="", description="Display of the FHIR code")

    @model_validator(mode="after")
    def _modality_fits(self) -> ProcedureRow:
        allowed = MODALITIES[self.sop_class.uid]
        if self.modality not in allowed:
            message = (
                f"modality {self.modality!r} does not go with {self.sop_class}: use {' or '.join(sorted(allowed))}"
            )
            raise ValueError(message)
        return self

    @property
    def fhir(self) -> Code:
        """The FHIR coding of the procedure."""
        return Code(value=self.fhir_code, meaning=self.fhir_display, scheme=self.fhir_system)

    @property
    def region(self) -> Code:
        """The anatomic region."""
        return Code(value=self.region_code, meaning=self.region_meaning, scheme=self.region_scheme)


class StationRow(Value):
    """Watch folder, AE title or name -> a room with its device, clock and zone. Key: station."""

    key_columns: ClassVar[tuple[str, ...]] = ("station",)
    table: ClassVar[str] = "stations"
    policy: ClassVar[Policy] = Policy.DEFAULT

    station: str = Column_(description="Station AE title or name as orders carry it")
    folder: str = Column_(
        default="", description="Name of the watch folder below the inbox that this recorder writes to"
    )
    room: str = Column_(default="", description="Room, for people")
    manufacturer: str = Column_(default="", description="Manufacturer of the recorder (0008,0070)")
    model: str = Column_(default="", description="Model (0008,1090)")
    serial: str = Column_(default="", description="Serial number (0018,1000)")
    institution: str = Column_(default="", description="Institution (0008,0080)")
    time_zone: str = Column_(default="UTC", description="IANA zone of the recorder's clock")
    early_minutes: int = Column_(
        default=60, ge=0, description="How long before the scheduled time a recording may start"
    )
    late_minutes: int = Column_(default=240, ge=0, description="How long after it")
    independent_sidecar: bool = Column_(
        default=False, description="Sidecars are written by another system than the one that names the files"
    )
    station_and_time_link: bool = Column_(
        default=False, description="Allow a link by station, time and start event alone (clinical rule 3)"
    )

    _check_zone = field_validator("time_zone")(_zone)


class FilenamePatternRow(Value):
    """A recorder's file names. Key: name. Named groups are claims; ``date`` and ``time`` make the start time."""

    key_columns: ClassVar[tuple[str, ...]] = ("name",)
    table: ClassVar[str] = "filename_patterns"
    policy: ClassVar[Policy] = Policy.DEFAULT
    groups: ClassVar[frozenset[str]] = frozenset(
        {"accession", "placer", "filler", "study_uid", "scheduled_step_id", "patient_id", "family", "given",
         "birth_date", "date", "time", "sequence"}
    )  # fmt: skip

    name: str = Column_(description="Name of the pattern")
    station: str = Column_(default=ANY, description="Station it is for, or *")
    priority: int = Column_(default=100, description="Lower is tried first; the first that matches is used")
    pattern: str = Column_(description="Regular expression over the file name without its ending")
    example: str = Column_(default="", description="A name that it matches; checked")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            found = set(re.compile(value).groupindex)
        except re.error as error:
            message = f"not a regular expression: {error}"
            raise ValueError(message) from error
        if unknown := found - cls.groups:
            message = f"unknown group {min(unknown)!r}; known are {', '.join(sorted(cls.groups))}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _example_matches(self) -> FilenamePatternRow:
        if self.example and not re.fullmatch(self.pattern, self.example):
            message = f"the example {self.example!r} does not match the pattern"
            raise ValueError(message)
        return self


class SenderRow(Value):
    """How one sending application fills its messages. Key: application, facility.

    Path columns are chains such as ``IPC-1|OBR-18``: the first path that has a value wins. A path is
    ``SEG-field[.component[.subcomponent]]``.
    """

    key_columns: ClassVar[tuple[str, ...]] = ("application", "facility")
    table: ClassVar[str] = "senders"
    policy: ClassVar[Policy] = Policy.DEFAULT

    application: str = Column_(default=ANY, description="MSH-3, or *")
    facility: str = Column_(default=ANY, description="MSH-4, or *")
    time_zone: str = Column_(default="UTC", description="IANA zone of times without an offset")
    character_set: str = Column_(default="UTF-8", description="Used when MSH-18 is empty")
    processing_ids: str = Column_(default="P", description="Accepted MSH-11 values, separated by |")
    sends_adt: bool = Column_(default=True, description="Demographics are kept current by ADT, so an order must agree")
    accession: str = Column_(default="IPC-1.1|OBR-18.1", description="Where the accession number is")
    requested_procedure_id: str = Column_(default="IPC-2.1|OBR-19.1", description="Where the requested procedure id is")
    scheduled_step_id: str = Column_(default="IPC-4.1|OBR-20.1", description="Where the scheduled step id is")
    study_uid: str = Column_(default="IPC-3.1|ZDS-1.1|OBX:113014|OBX:110180", description="Where the Study UID is")
    procedure: str = Column_(default="OBR-44|OBR-4", description="Where the procedure code is (a CE/CWE field)")
    modality: str = Column_(default="IPC-5.1|OBR-24", description="Where the modality is")
    scheduled_at: str = Column_(default="TQ1-7.1|ORC-7.4|OBR-27.4|OBR-36.1", description="Where the scheduled time is")
    station: str = Column_(default="IPC-9.1|ZDS-3.1|ORC-18.1|OBR-21", description="Where the scheduled station is")
    laterality: str = Column_(default="OBR-46|OBR-45|OBR-15.5", description="Where the laterality code is")
    patient_authority: str = Column_(default="", description="Authority of the PID-3 repetition to use; else type MR")

    _check_zone = field_validator("time_zone")(_zone)


class OrderControlRow(Value):
    """ORC-1 and ORC-5 -> what to do. Key: control, status. An unknown pair holds."""

    key_columns: ClassVar[tuple[str, ...]] = ("control", "status")
    table: ClassVar[str] = "order_control"
    policy: ClassVar[Policy] = Policy.HOLD

    control: str = Column_(description="ORC-1 (HL7 table 0119)")
    status: str = Column_(default=ANY, description="ORC-5 (HL7 table 0038), empty for none, * for any")
    action: OrderAction = Column_(description="What to do with the order")
    note: str = Column_(default="", description="Why, for people")


class AuthorityRow(Value):
    """HL7 namespace <-> DICOM issuer <-> FHIR system. Key: namespace, kind."""

    key_columns: ClassVar[tuple[str, ...]] = ("namespace", "kind")
    table: ClassVar[str] = "authorities"
    policy: ClassVar[Policy] = Policy.DEFAULT

    namespace: str = Column_(description="HL7 namespace id (CX-4.1, EI-2)")
    kind: Literal["patient", "placer", "filler", "accession"] = Column_(description="What it assigns")
    universal_id: str = Column_(default="", description="OID or URI of the authority")
    universal_id_type: str = Column_(default="", description="ISO, UUID, DNS or URI")
    dicom_issuer: str = Column_(default="", description="Issuer as the PACS knows it (0010,0021)")
    fhir_system: str = Column_(default="", description="FHIR identifier system")


class DestinationRow(Value):
    """A peer and its profile; secrets are only named, and live in the settings. Key: name."""

    key_columns: ClassVar[tuple[str, ...]] = ("name",)
    table: ClassVar[str] = "destinations"
    policy: ClassVar[Policy] = Policy.REFUSE

    name: str = Column_(description="Name, as routes use it")
    kind: Literal["dicom", "hl7", "fhir"] = Column_(description="C-STORE, MLLP or FHIR R4")
    host: str = Column_(default="", description="Host (dicom, hl7)")
    port: int = Column_(default=0, ge=0, le=65535, description="Port (dicom, hl7)")
    ae_title: str = Column_(default="", max_length=16, description="Called AE title (dicom)")
    url: str = Column_(default="", description="Base URL (fhir)")
    secret: str = Column_(default="", description="Name of the secret in the settings that opens it; empty for none")
    transfer_syntaxes: str = Column_(
        default="102|104|107", description="Video transfer syntaxes it takes, by their last digits, separated by |"
    )
    lenient_profiles: bool = Column_(
        default=False, description="Pass Main and Constrained Baseline through as if they were High"
    )
    empty_audio_sequence: bool = Column_(
        default=False, description="Write the empty audio sequence of PS3.3 C.7.6.5.1.3 for video without sound"
    )
    application: str = Column_(default="", description="MSH-5 (hl7)")
    facility: str = Column_(default="", description="MSH-6 (hl7)")
    result_status: Literal["R", "P", "F", "C", "I", "A"] = Column_(default="R", description="OBR-25 of a notice (hl7)")
    observation_status: Literal["O", "R", "P", "F", "C"] = Column_(default="O", description="OBX-11 of a notice (hl7)")
    procedure: bool = Column_(default=False, description="Create a FHIR Procedure where none exists (fhir)")
    timeout_seconds: float = Column_(default=30.0, gt=0, description="How long to wait for an answer")

    @model_validator(mode="after")
    def _address(self) -> DestinationRow:
        missing = {"dicom": ("host", "port", "ae_title"), "hl7": ("host", "port"), "fhir": ("url",)}[self.kind]
        for column in missing:
            if not getattr(self, column):
                message = f"column {column} is needed for a {self.kind} destination"
                raise ValueError(message)
        for part in self.transfer_syntaxes.split("|"):
            if part and f"1.2.840.10008.1.2.4.{part}" not in set(TransferSyntax):
                message = f"{part!r} is no video transfer syntax; write for example 102|104|107"
                raise ValueError(message)
        return self

    @property
    def accepted(self) -> tuple[TransferSyntax, ...]:
        """The transfer syntaxes that it takes."""
        return tuple(
            TransferSyntax(f"1.2.840.10008.1.2.4.{part}") for part in self.transfer_syntaxes.split("|") if part
        )


class RouteRow(Value):
    """Conditions -> destinations. Key: name. Every row that fits adds its destinations."""

    key_columns: ClassVar[tuple[str, ...]] = ("name",)
    table: ClassVar[str] = "routes"
    policy: ClassVar[Policy] = Policy.HOLD

    name: str = Column_(description="Name of the route")
    sender: str = Column_(default=ANY, description="Sending application, with * and ? as wildcards")
    procedure: str = Column_(default=ANY, description="Procedure code, with wildcards")
    modality: str = Column_(default=ANY, description="Modality, with wildcards")
    station: str = Column_(default=ANY, description="Station, with wildcards")
    destinations: str = Column_(description="Names of destinations, separated by |")

    @property
    def names(self) -> tuple[str, ...]:
        """The destinations' names."""
        return tuple(name for name in self.destinations.split("|") if name)


class EvidenceRow(Value):
    """Likelihood ratios of matching. Key: signal, outcome.

    ``ratio`` is how much more often this is seen when the order is the right one than when it is not.
    """

    key_columns: ClassVar[tuple[str, ...]] = ("signal", "outcome")
    table: ClassVar[str] = "evidence"
    policy: ClassVar[Policy] = Policy.REFUSE

    signal: str = Column_(description="What is compared")
    outcome: Literal["agrees", "near", "differs"] = Column_(description="How it compares")
    ratio: float = Column_(gt=0, description="Likelihood ratio")
    contradiction: bool = Column_(default=False, description="Always sends the recording to a person")
    why: str = Column_(default="", description="Where the figure comes from")


Row = (
    ProcedureRow | StationRow | FilenamePatternRow | SenderRow | OrderControlRow | AuthorityRow
    | DestinationRow | RouteRow | EvidenceRow
)  # fmt: skip

#: Every table by its name.
ROW_MODELS: dict[str, type[Row]] = {
    model.table: model
    for model in (ProcedureRow, StationRow, FilenamePatternRow, SenderRow, OrderControlRow, AuthorityRow,
                  DestinationRow, RouteRow, EvidenceRow)
}  # fmt: skip


class MappingSet(Value):
    """All tables of one published version: what every decision reads."""

    version: int
    procedures: tuple[ProcedureRow, ...] = ()
    stations: tuple[StationRow, ...] = ()
    filename_patterns: tuple[FilenamePatternRow, ...] = ()
    senders: tuple[SenderRow, ...] = ()
    order_control: tuple[OrderControlRow, ...] = ()
    authorities: tuple[AuthorityRow, ...] = ()
    destinations: tuple[DestinationRow, ...] = ()
    routes: tuple[RouteRow, ...] = ()
    evidence: tuple[EvidenceRow, ...] = ()

    def procedure(self, code: Code, sender: str) -> ProcedureRow:
        """Return the row of a procedure code; sender rows win over scheme rows, those over general ones.

        Raises:
            MappingMiss: No row: the recording is held, never guessed.
        """
        fits = [
            row for row in self.procedures
            if row.code == code.value and row.scheme in (ANY, code.scheme) and row.sender in (ANY, sender)
        ]  # fmt: skip
        if not fits:
            raise MappingMiss(
                "procedures", code.value,
                f"procedure code {code.value!r} ({code.meaning or 'no text'}) has no row in the procedures table: "
                "add one, publish, and run the recording again",
            )  # fmt: skip
        return max(fits, key=lambda row: (row.sender != ANY, row.scheme != ANY))

    def station_named(self, name: str) -> StationRow | None:
        """Return the station of that name or AE title."""
        return next((row for row in self.stations if name and row.station == name), None)

    def station_of_folder(self, folder: str) -> StationRow | None:
        """Return the station whose recorder writes into that watch folder."""
        return next((row for row in self.stations if folder and row.folder == folder), None)

    def sender(self, application: str, facility: str) -> SenderRow:
        """Return the sender's row: application and facility win over application, that over the general row."""
        fits = [
            row for row in self.senders
            if row.application in (ANY, application) and row.facility in (ANY, facility)
        ]  # fmt: skip
        if not fits:
            return SenderRow()
        return max(fits, key=lambda row: (row.application != ANY, row.facility != ANY))

    def action(self, control: str, status: str) -> OrderAction:
        """Return what to do for ORC-1 and ORC-5; the exact pair wins over ``*``.

        Raises:
            MappingMiss: The pair is unknown: the order is held.
        """
        for wanted in (status, ANY):
            for row in self.order_control:
                if row.control == control and row.status == wanted:
                    return row.action
        raise MappingMiss(
            "order_control", f"{control}/{status}",
            f"ORC-1 {control!r} with ORC-5 {status!r} has no row in the order_control table: add one and reprocess",
        )  # fmt: skip

    def authority(self, authority: Authority, kind: str) -> AuthorityRow | None:
        """Return the row of an assigning authority."""
        return next(
            (row for row in self.authorities
             if row.kind == kind and (row.namespace == authority.namespace
                                      or (row.universal_id and row.universal_id == authority.universal_id))),
            None,
        )  # fmt: skip

    def destination(self, name: str) -> DestinationRow:
        """Return a destination by name.

        Raises:
            MappingMiss: No such destination.
        """
        for row in self.destinations:
            if row.name == name:
                return row
        raise MappingMiss("destinations", name, f"destination {name!r} is not in the destinations table: add it")

    def route(self, *, sender: str, procedure: str, modality: str, station: str) -> tuple[DestinationRow, ...]:
        """Return the destinations of every route that fits, each once, in the tables' order.

        Raises:
            MappingMiss: No route fits: the recording is held.
        """
        names: list[str] = []
        for row in self.routes:
            pairs = ((sender, row.sender), (procedure, row.procedure), (modality, row.modality), (station, row.station))
            if all(fnmatchcase(value, pattern) for value, pattern in pairs):
                names += [name for name in row.names if name not in names]
        if not names:
            raise MappingMiss(
                "routes", f"{sender}/{procedure}/{modality}/{station}",
                f"no route fits sender {sender!r}, procedure {procedure!r}, modality {modality!r} and "
                f"station {station!r}: add a row to the routes table",
            )  # fmt: skip
        return tuple(self.destination(name) for name in names)


class MappingVersionTable(SQLModel, table=True):
    """One published version of all tables."""

    __tablename__ = "cl_mapping_version"

    version: int = Field(primary_key=True)
    published_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    author: str
    comment: str = Field(sa_column=Column(Text, nullable=False))


class MappingRowTable(SQLModel, table=True):
    """One row of one table in one version."""

    __tablename__ = "cl_mapping_row"

    version: int = Field(primary_key=True, foreign_key="cl_mapping_version.version")
    table_name: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    body: str = Field(sa_column=Column(Text, nullable=False))
