"""Invented orders, recordings and tables for tests."""

from __future__ import annotations

from datetime import UTC, date, datetime

from models.mapping import EvidenceRow, StationRow
from models.order import Code, Order, OrderRequest, OrderStatus
from models.patient import Authority, Identifier, Patient, PersonName
from models.recording import Claim, Recording, RecordingState, StreamFacts

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
DEMO = Authority(namespace="DEMO", universal_id="2.999.1.1", universal_id_type="ISO")
RIS = Authority(namespace="DEMO_RIS")
EHR = Authority(namespace="DEMO_EHR")


def patient(number: str = "MRN0042", family: str = "Muster", birth: date | None = date(1970, 1, 2)) -> Patient:
    return Patient(
        identifier=Identifier(value=number, authority=DEMO, type_code="MR"),
        name=PersonName(family=family, given="Ana"),
        birth_date=birth,
        sex="F",
    )


def order(accession: str = "E1001", **changes: object) -> Order:
    values: dict[str, object] = {
        "id": f"order-{accession}",
        "version": 1,
        "status": OrderStatus.SCHEDULED,
        "sender": RIS,
        "patient": patient(),
        "placer": Identifier(value=f"P{accession}", authority=EHR),
        "filler": Identifier(value=f"F{accession}", authority=RIS),
        "accession": accession,
        "study_uid": "2.25.42",
        "study_uid_source": "order",
        "requested_procedure_id": f"RP{accession}",
        "scheduled_step_id": f"SPS{accession}",
        "procedure": Code(value="EGD", meaning="Upper endoscopy", scheme="L"),
        "modality": "ES",
        "scheduled_at": NOW,
        "station": "ENDO1",
    }
    return Order(**(values | changes))  # type: ignore[arg-type]


def request(accession: str = "E1001", **changes: object) -> OrderRequest:
    values: dict[str, object] = {
        "control": "NW",
        "order_status": "SC",
        "sent_at": NOW,
        "sender": RIS,
        "patient": patient(),
        "placer": Identifier(value=f"P{accession}", authority=EHR),
        "filler": Identifier(value=f"F{accession}", authority=RIS),
        "accession": accession,
        "study_uid": "2.25.42",
        "procedure": Code(value="EGD", meaning="Upper endoscopy", scheme="L"),
        "scheduled_at": NOW,
        "station": "ENDO1",
    }
    return OrderRequest(**(values | changes))  # type: ignore[arg-type]


def facts(**changes: object) -> StreamFacts:
    values: dict[str, object] = {
        "container": "mp4",
        "size": 1000,
        "sha256": "ab" * 32,
        "codec": "h264",
        "profile": "High",
        "level": 41,
        "width": 1920,
        "height": 1080,
        "frames": 600,
        "fps": "30/1",
        "duration": 20.0,
    }
    return StreamFacts(**(values | changes))  # type: ignore[arg-type]


def claim(key: str, value: str, *, source: str = "file name", group: str = "recorder") -> Claim:
    return Claim(source=source, group=group, key=key, value=value)


def recording(*claims: Claim, **changes: object) -> Recording:
    values: dict[str, object] = {
        "id": "recording-1",
        "state": RecordingState.PROBED,
        "path": "/inbox/endo1/ACC_E1001.mp4",
        "name": "ACC_E1001.mp4",
        "folder": "endo1",
        "station": "ENDO1",
        "seen_at": NOW,
        "sha256": "ab" * 32,
        "facts": facts(),
        "claims": claims,
    }
    return Recording(**(values | changes))  # type: ignore[arg-type]


STATION = StationRow(station="ENDO1", folder="endo1")


def evidence_rows() -> tuple[EvidenceRow, ...]:
    table = {
        ("accession", "agrees"): 5000, ("placer", "agrees"): 5000, ("filler", "agrees"): 5000,
        ("study_uid", "agrees"): 5000, ("scheduled_step_id", "agrees"): 5000,
        ("patient_id", "agrees"): 200, ("name", "agrees"): 50, ("name", "near"): 5,
        ("birth_date", "agrees"): 30, ("station", "agrees"): 8, ("station", "differs"): 0.2,
        ("time", "agrees"): 10, ("time", "near"): 2, ("time", "differs"): 0.2,
    }  # fmt: skip
    against = ("accession", "placer", "filler", "study_uid", "scheduled_step_id", "patient_id", "name", "birth_date")
    return (
        *(EvidenceRow(signal=signal, outcome=outcome, ratio=ratio) for (signal, outcome), ratio in table.items()),  # type: ignore[arg-type]
        *(EvidenceRow(signal=signal, outcome="differs", ratio=0.001, contradiction=True) for signal in against),
    )
