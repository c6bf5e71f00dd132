"""What MSH says, read tolerantly (HL7 v2.5.1 2.15.9)."""

from __future__ import annotations

from interfaces.hl7.parsing import ParsedMessage, Segment, parse
from interfaces.hl7.times import read_stamp
from models.message import Header


def read_header(raw: bytes) -> Header:
    """Read MSH.

    ``sent_at`` is only given when MSH-7 carries its own offset: whose local time it is, the sender's row says, and
    that is known only after this.

    Raises:
        MessageRefused: This is no HL7 v2 message (``rejected`` is True).
    """
    return header_of(parse(raw.lstrip(b"\x0b")))


def header_of(message: ParsedMessage) -> Header:
    """Return the header of a parsed message."""
    msh = message.header
    stamp = read_stamp(msh.part(7), None)
    return Header(
        sending_application=msh.part(3),
        sending_facility=msh.part(4),
        receiving_application=msh.part(5),
        receiving_facility=msh.part(6),
        sent_at=stamp.at if stamp else None,
        message_type=msh.part(9).upper(),
        trigger_event=msh.part(9, 2).upper(),
        control_id=control_id(msh),
        processing_id=msh.part(11),
        version=msh.part(12),
        character_set=msh.part(18),
    )


def control_id(msh: Segment) -> str:
    """Return MSH-10 as one text; it is an ST, so nothing in it is split off."""
    return msh.raw(10).strip()
