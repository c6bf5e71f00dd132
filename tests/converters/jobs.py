"""Small recordings, facts by hand and jobs for the tests of converting; all names are invented."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from converters.payload import exact
from models.mapping import ProcedureRow, StationRow
from models.order import Code, Order, OrderStatus
from models.patient import Authority, Identifier, Patient, PersonName
from models.plan import AudioPlan, ConversionJob, ConversionPlan, PlanKind
from models.recording import AudioFacts, StreamFacts
from models.study import Instance, SopClass, TransferSyntax

CET = timezone(timedelta(hours=1))
MODALITY = {
    SopClass.VIDEO_ENDOSCOPIC: "ES",
    SopClass.VIDEO_MICROSCOPIC: "GM",
    SopClass.VIDEO_PHOTOGRAPHIC: "XC",
    SopClass.US_MULTI_FRAME: "US",
}


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    frames: int = 30,
    rate: int = 25,
    size: tuple[int, int] = (320, 240),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    sound: str = "",
    aspect: Fraction = Fraction(1),
    noise: bool = False,
    sound_first: bool = False,
) -> Path:
    """Write a clip whose n-th picture has a bright bar at place n; ``times`` are in milliseconds."""
    chance = np.random.default_rng(7)
    with av.open(str(path), "w", options=container_options or {}) as file:
        audio = file.add_stream(sound, rate=44_100, layout="mono") if sound and sound_first else None
        video = file.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        context = video.codec_context
        context.sample_aspect_ratio = aspect
        context.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
        audio = file.add_stream(sound, rate=44_100, layout="mono") if sound and not audio else audio
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), (70, 40, 35), np.uint8)
            picture[:, (index * 8) % size[0] :][:, :8] = 220
            picture[: size[1] // 4, : size[0] // 4] = (40, 160, 60)
            if noise:
                picture = chance.integers(0, 256, picture.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times[index] if times else index), context.time_base
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if audio is not None:
            _hum(file, audio, round(44_100 * frames / rate))
    return path


def _hum(file: Any, audio: Any, samples: int) -> None:
    kind = audio.codec_context.format.name
    for start in range(0, samples, 1024):
        at = np.arange(start, start + 1024) / 44_100
        wave = np.sin(2 * np.pi * 440 * at) * 0.2
        data = wave.astype(np.float32) if "flt" in kind else (wave * 30_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(data.reshape(1, -1), format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, start, Fraction(1, 44_100)
        file.mux(audio.encode(frame))
    file.mux(audio.encode(None))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def facts_of(path: Path, **changes: Any) -> StreamFacts:
    """Return the facts as probing would find them."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        context = video.codec_context
        times = sorted(packet.pts or 0 for packet in file.demux(video) if packet.size)
        rate = exact(video.average_rate, Fraction(25))
        found: dict[str, Any] = {
            "container": "mp4",
            "size": path.stat().st_size,
            "sha256": sha256(path),
            "codec": context.name,
            "profile": context.profile or "",
            "level": max(0, context.level or 0),
            "width": context.width,
            "height": context.height,
            "frames": len(times),
            "fps": f"{rate.numerator}/{rate.denominator}",
            "duration": len(times) / float(rate),
            "audio": tuple(
                AudioFacts(
                    codec=stream.codec_context.name,
                    sample_rate=stream.codec_context.sample_rate,
                    channels=stream.codec_context.channels,
                )
                for stream in file.streams.audio
            ),
        }
    return StreamFacts(**{**found, **changes})


def plan_for(facts: StreamFacts, kind: PlanKind = PlanKind.PASSTHROUGH, **changes: Any) -> ConversionPlan:
    found: dict[str, Any] = {
        "kind": kind,
        "transfer_syntax": TransferSyntax.H264_HIGH_41.value,
        "sop_class": SopClass.VIDEO_ENDOSCOPIC.value,
        "modality": "ES",
        "reasons": ("as the test wants it",),
        "audio": AudioPlan.NONE,
        "width": facts.width,
        "height": facts.height,
        "fps": facts.fps,
    }
    return ConversionPlan(**{**found, **changes})


def order(**changes: Any) -> Order:
    found: dict[str, Any] = {
        "id": "0b0e",
        "version": 1,
        "status": OrderStatus.SCHEDULED,
        "sender": Authority(namespace="HIS"),
        "accession": "E1001",
        "accession_authority": Authority(namespace="RIS", universal_id="1.2.3.9", universal_id_type="ISO"),
        "study_uid": "2.25.41",
        "requested_procedure_id": "RP-7",
        "scheduled_step_id": "SPS-7",
        "patient": Patient(
            identifier=Identifier(
                value="4711",
                authority=Authority(namespace="HOSP", universal_id="1.2.3.4", universal_id_type="ISO"),
                type_code="MR",
            ),
            others=(Identifier(value="756.1234", authority=Authority(namespace="NAT"), type_code="SS"),),
            name=PersonName(family="Muster", given="Erika"),
            birth_date=date(1970, 1, 2),
            sex="F",
        ),
        "procedure": Code(value="COLO", meaning="Colonoscopy", scheme="99HOSP"),
        "modality": "ES",
        "scheduled_at": datetime(2026, 3, 2, 9, 0, tzinfo=CET),
        "referrer": PersonName(family="Ruf", given="Rita"),
        "performer": PersonName(family="Tun", given="Theo"),
        "reason": "Bleeding",
        "visit_number": Identifier(value="V-1"),
    }
    return Order(**{**found, **changes})


def procedure(sop_class: SopClass = SopClass.VIDEO_ENDOSCOPIC, **changes: Any) -> ProcedureRow:
    found: dict[str, Any] = {
        "code": "COLO",
        "modality": MODALITY[sop_class],
        "sop_class": sop_class.name.lower().replace("_", "-"),
        "description": "Colonoscopy",
        "body_part": "COLON",
        "region_code": "71854001",
        "region_meaning": "Colon",
        "series_description": "Colonoscopy video",
    }
    return ProcedureRow(**{**found, **changes})


def make_job(
    source: Path,
    output: Path,
    kind: PlanKind = PlanKind.PASSTHROUGH,
    *,
    sop_class: SopClass = SopClass.VIDEO_ENDOSCOPIC,
    facts: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    **changes: Any,
) -> ConversionJob:
    """Return a job that is ready to run."""
    stream = facts_of(source, **(facts or {}))
    modality = MODALITY[sop_class]
    planned = plan_for(stream, kind, sop_class=sop_class.value, modality=modality, **(plan or {}))
    instance = Instance(
        sop_uid="2.25.43", sop_class=sop_class.value, transfer_syntax=planned.transfer_syntax, series_uid="2.25.42",
        study_uid="2.25.41", order_id="0b0e", recording_id="rec", modality=modality, series_number=1,
        file_sha256=stream.sha256,
    )  # fmt: skip
    found: dict[str, Any] = {
        "source": str(source),
        "output": str(output),
        "facts": stream,
        "plan": planned,
        "order": order(modality=modality),
        "instance": instance,
        "procedure": procedure(sop_class),
        "station": StationRow(
            station="ENDO1", manufacturer="Acme", model="Rec 2", serial="77", institution="Invented Hospital"
        ),
        "started_at": datetime(2026, 3, 2, 9, 30, 5, tzinfo=CET),
        "written_at": datetime(2026, 3, 2, 10, 0, tzinfo=UTC),
        "software": "Cinelink 0.1.0",
    }
    return ConversionJob(**{**found, **changes})


def judge(program: str, package: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an outside judge; a missing one fails the test and names its package."""
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is missing: install the Debian package {package}")
    return subprocess.run(
        [path, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False, timeout=60
    )


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def bar_places(frames: list[av.VideoFrame]) -> list[int]:
    """Return the number that each picture's bright bar stands for."""
    places = []
    for frame in frames:
        row = frame.to_ndarray(format="gray")[frame.height * 3 // 4]
        places.append(int(row.argmax()) // 8)
    return places
