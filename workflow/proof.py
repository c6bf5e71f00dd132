"""The chain of proof of a recording: file, bit stream, SOP instance, store, proof, notices (DESIGN promise 3)."""

from __future__ import annotations

from collections.abc import Iterable

from models.delivery import Attempt, Delivery, DeliveryKind, DeliveryState
from models.recording import Recording, RecordingState
from models.study import Instance
from models.timeline import Event, ProofLink

_NOTICE = {DeliveryKind.HL7: "HL7 acknowledgement", DeliveryKind.FHIR: "FHIR version"}


def chain(
    recording: Recording,
    instances: Iterable[Instance],
    deliveries: Iterable[tuple[Delivery, tuple[Attempt, ...]]],
    events: Iterable[Event],
) -> tuple[ProofLink, ...]:
    """Return the links in order; a link that is still owed has ``holds`` None, a broken one False."""
    links = [ProofLink(name="file SHA-256", value=recording.sha256, holds=bool(recording.sha256) or None)]
    made = list(instances)
    for instance in made:
        links += _object_links(instance)
    if not made:
        links.append(ProofLink(name="bit stream SHA-256", value="", holds=_owed_or_broken(recording)))
    history = list(events)
    for delivery, attempts in deliveries:
        links += _delivery_links(delivery, attempts, history)
    return tuple(links)


def _owed_or_broken(recording: Recording) -> bool | None:
    return False if recording.state in {RecordingState.FAILED, RecordingState.REJECTED} else None


def _object_links(instance: Instance) -> list[ProofLink]:
    same = "" if instance.stream_sha256 != instance.file_sha256 else " (identical to the file)"
    stream = f"{instance.stream_sha256}{same}" if instance.stream_sha256 else ""
    return [
        ProofLink(name="bit stream SHA-256", value=stream, holds=bool(stream) or None),
        ProofLink(name="SOP Instance UID", value=instance.sop_uid, holds=bool(instance.path) or None),
    ]


def _delivery_links(delivery: Delivery, attempts: tuple[Attempt, ...], events: list[Event]) -> list[ProofLink]:
    holds = {DeliveryState.DONE: True, DeliveryState.FAILED: False}.get(delivery.state)
    ended = attempts[-1].ended_at if attempts else None
    value = delivery.proof or delivery.reason
    if delivery.kind != DeliveryKind.DICOM:
        name = f"{_NOTICE[delivery.kind]} ({delivery.destination})"
        return [ProofLink(name=name, value=value, holds=holds, at=ended)]
    sent = [event for event in events if event.delivery_id == delivery.id and event.action == "delivery.sent"]
    status = ProofLink(
        name=f"C-STORE status ({delivery.destination})",
        value=sent[-1].data.get("status", "") if sent else _stored_earlier(holds),
        holds=True if sent or holds else holds,
        at=sent[-1].at if sent else None,
    )
    return [status, ProofLink(name=f"held in PACS ({delivery.destination})", value=value, holds=holds, at=ended)]


def _stored_earlier(holds: bool | None) -> str:  # noqa: FBT001 - the link's own three values
    return "answer lost; found there afterwards" if holds else ""
