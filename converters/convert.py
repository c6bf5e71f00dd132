"""One job, start to end: payload, attributes, Part 10 file, verification, publication under its final name.

The source is never changed. The object is written under a temporary name beside the output and renamed only after it
was read back and found as planned; whatever happens, no temporary file is left by a process that could still act.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from converters.dataset import build
from converters.part10 import sync_folder, write
from converters.payload import Digests, Payload, chunks, hash_file, require_unchanged
from converters.remux import remux
from converters.transcode import CRF, CRF_AGAIN, PEAK, Encoded, transcode
from converters.verify import LEAST_PSNR, Expected, inspect, require
from models.errors import ConversionFailed
from models.plan import AudioPlan, ConversionJob, ConversionResult, PlanKind

Progress = Callable[[float], None]

#: How much of the whole the making of a payload is, by kind; writing and reading back share the rest.
_PAYLOAD_SHARE = {PlanKind.PASSTHROUGH: 0.0, PlanKind.REMUX: 0.4, PlanKind.TRANSCODE: 0.85}


def convert(job: ConversionJob, on_progress: Progress) -> ConversionResult:
    """Write one verified DICOM object.

    Args:
        job: What to make from what, and where to.
        on_progress: Told the part that is done, 0 to 1.

    Returns:
        What was written and every check of it.

    Raises:
        ConversionFailed: The source changed or cannot be used, the output exists, or the disk refused.
        VerificationFailed: The written object, read back, is not what was planned.
    """
    output = Path(job.output)
    if output.exists():
        raise ConversionFailed("output", f"{output.name} exists already: give every attempt a file of its own")
    try:
        remove_leftovers(output)
        return _convert(job, output, on_progress)
    except OSError as error:
        raise ConversionFailed(
            "write", f"the object cannot be written ({error.strerror or error}): check space and rights of its folder"
        ) from error
    finally:
        remove_leftovers(output)


def leftovers(output: Path) -> tuple[Path, Path]:
    """Return the names of the unpublished object and of the scratch payload that go with an output."""
    return output.with_name(f".{output.name}.part"), output.with_name(f".{output.name}.scratch.mp4")


def remove_leftovers(output: Path) -> None:
    """Remove what an interrupted attempt of the same name may have left."""
    for path in leftovers(output):
        path.unlink(missing_ok=True)


def _convert(job: ConversionJob, output: Path, on_progress: Progress) -> ConversionResult:
    part, scratch = leftovers(output)
    share = _PAYLOAD_SHARE[job.plan.kind]
    middle = share + (1 - share) * 0.6
    payload = _payload(job, scratch, _span(on_progress, 0, share))
    stream_sha256 = _write(job, part, payload, _span(on_progress, share, middle))
    expected = Expected(stream_sha256=stream_sha256, decode_all=job.plan.kind is PlanKind.TRANSCODE, psnr=payload.psnr)
    checks, hashes = inspect(part, expected, on_progress=_span(on_progress, middle, 1))
    require(checks)
    size = part.stat().st_size
    part.rename(output)
    sync_folder(output.parent)
    return ConversionResult(
        path=job.output, size=size, sha256=hashes.file, stream_sha256=hashes.stream, stream_size=payload.size,
        frames=payload.frames, rows=payload.rows, columns=payload.columns, checks=checks, psnr=payload.psnr,
    )  # fmt: skip


def _write(job: ConversionJob, part: Path, payload: Payload, on_progress: Progress) -> str:
    """Write the object and return the SHA-256 of its bit stream.

    A passed-through source is proven to be the probed one while its bytes go by, before anything is published.
    """
    digests = Digests()
    write(
        part,
        build(job, payload),
        chunks(payload.path, payload.blanked, digests),
        payload.size,
        lambda done: on_progress(done / payload.size),
    )
    if job.plan.kind is PlanKind.PASSTHROUGH:
        require_unchanged(digests.source, job.facts.sha256)
    return digests.stream


def _payload(job: ConversionJob, scratch: Path, on_progress: Progress) -> Payload:
    """Return the bit stream as planned: the source itself, or a scratch file made from it."""
    source, facts, plan = Path(job.source), job.facts, job.plan
    if plan.kind is PlanKind.PASSTHROUGH:
        return Payload(
            path=source, size=facts.size, frames=facts.frames, rows=plan.height, columns=plan.width,
            rate=Fraction(plan.fps), blanked=plan.blanked,
        )  # fmt: skip
    hashing = 0.05 if plan.kind is PlanKind.TRANSCODE else 0.5
    before = source.stat()
    found = hash_file(source, lambda done: on_progress(hashing * min(1.0, done / max(1, facts.size))))
    require_unchanged(found, facts.sha256)
    rest = _span(on_progress, hashing, 1)
    made = _transcode(job, scratch, rest) if plan.kind is PlanKind.TRANSCODE else _remux(job, scratch, rest)
    after = source.stat()
    if (before.st_mtime_ns, before.st_size, before.st_ino) != (after.st_mtime_ns, after.st_size, after.st_ino):
        raise ConversionFailed("source", "the recording changed while it was read: probe it again when it is complete")
    return Payload(
        path=scratch, size=scratch.stat().st_size, frames=made.frames, rows=plan.height, columns=plan.width,
        rate=Fraction(plan.fps), psnr=made.psnr if plan.kind is PlanKind.TRANSCODE else None,
    )  # fmt: skip


def _remux(job: ConversionJob, scratch: Path, on_progress: Progress) -> Encoded:
    frames = remux(Path(job.source), scratch, keep_audio=job.plan.audio is AudioPlan.KEEP, on_progress=on_progress)
    if frames != job.facts.frames:
        raise ConversionFailed(
            "remux", f"{frames} pictures were copied, but {job.facts.frames} were probed: re-encode this recording"
        )
    return Encoded(frames, 0.0, 0)


def _transcode(job: ConversionJob, scratch: Path, on_progress: Progress) -> Encoded:
    """Encode, and once more where the first try lost too much of a fine picture or exceeds the level's bit rate."""
    source = Path(job.source)
    made = transcode(source, scratch, job.facts, job.plan, crf=CRF, on_progress=on_progress)
    if made.psnr < LEAST_PSNR or made.peak > PEAK:
        scratch.unlink()
        crf = CRF_AGAIN if made.psnr < LEAST_PSNR else CRF
        made = transcode(source, scratch, job.facts, job.plan, crf=crf, capped=True, on_progress=on_progress)
    return made


def _span(on_progress: Progress, start: float, end: float) -> Progress:
    """Return a progress callable for one stretch of the whole."""
    return lambda done: on_progress(start + (end - start) * done)
