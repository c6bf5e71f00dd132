"""Invented HL7 messages for the tests of this room."""

from __future__ import annotations

HEAD = "MSH|^~\\&|RIS|DEMO|CINELINK|DEMO|20260301090000+0000||ORM^O01|M1|P|2.5.1"
PID = "PID|1||MRN0042^^^DEMO&2.999.1.1&ISO^MR||Muster^Ana||19700102|F"
ORC = "ORC|NW|P1^EHR|F1^RIS||SC"
OBR = "OBR|1|P1^EHR|F1^RIS|EGD^Upper endoscopy^L||||||||||||||E1001|RP1|SPS1||||ES"


def message(*segments: str, head: str = HEAD, end: str = "\r") -> bytes:
    """Return a message of these segments after MSH; by default a whole small order."""
    return (end.join((head, *(segments or (PID, ORC, OBR)))) + end).encode()


def order(**fields: str) -> bytes:
    """Return an order with fields replaced: ``order(PID_3="1", ORC_2="", OBR_18="E2", ZDS_1="1.2.3")``."""
    lines = {line[:3]: line.split("|") for line in (HEAD, PID, ORC, OBR)}
    for name, value in fields.items():
        segment, _, number = name.partition("_")
        parts = lines.setdefault(segment, [segment])
        place = int(number) - (1 if segment == "MSH" else 0)
        parts += [""] * (place + 1 - len(parts))
        parts[place] = value
    return ("\r".join("|".join(parts) for parts in lines.values()) + "\r").encode()
