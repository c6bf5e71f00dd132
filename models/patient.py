"""Who a procedure is about: identifiers with their assigning authority, name, birth date, sex."""

from __future__ import annotations

from datetime import date

from models.value import Value


class Authority(Value):
    """An assigning authority (HL7 v2.5.1 2.A.33 HD; DICOM PS3.3 C.7.1.1 Issuer of Patient ID)."""

    namespace: str = ""
    universal_id: str = ""
    universal_id_type: str = ""

    @property
    def key(self) -> str:
        """One text that names the authority: its namespace, else its universal id."""
        return self.namespace or self.universal_id


class Identifier(Value):
    """A number with the authority that assigned it (HL7 CX or EI)."""

    value: str
    authority: Authority = Authority()
    type_code: str = ""

    @property
    def key(self) -> str:
        """``authority|value``: numbers are only equal within one authority."""
        return f"{self.authority.key}|{self.value}"


class PersonName(Value):
    """A person's name in the five DICOM components (PS3.5 6.2.1.2)."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    def dicom(self) -> str:
        """Return ``family^given^middle^prefix^suffix`` without trailing carets."""
        parts = (self.family, self.given, self.middle, self.prefix, self.suffix)
        return "^".join(part.replace("^", " ").replace("=", " ").replace("\\", " ") for part in parts).rstrip("^")

    def readable(self) -> str:
        """Return ``Given Family`` for people to read."""
        return " ".join(part for part in (self.prefix, self.given, self.middle, self.family, self.suffix) if part)


class Patient(Value):
    """One patient as an order names them.

    Attributes:
        identifier: The primary identifier (PID-3, chosen by authority then type MR).
        others: The other identifiers of PID-3.
        sex: ``M``, ``F``, ``O`` or empty (DICOM PS3.3 C.7.1.1).
    """

    identifier: Identifier
    others: tuple[Identifier, ...] = ()
    name: PersonName = PersonName()
    birth_date: date | None = None
    sex: str = ""
