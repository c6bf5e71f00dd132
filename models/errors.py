"""Every error of ours has one root, and every message is one sentence: what, where, how to mend it.

CinelinkError
├── SettingsError            a setting is wrong; nothing starts
├── NotFound                 no such order, recording, message or delivery
├── NotAllowed               a transition that the state does not allow
├── MessageRefused           an inbound HL7 message cannot be applied
│   └── OrderConflict        it contradicts an order or a patient that we know
├── MappingError             a mapping table is not usable
│   └── MappingMiss          a value has no row, and the table's policy is to hold
├── Held                     a recording waits for a person, a mapping row or a release
├── RecordingRejected        the file is not a usable video
├── ConversionFailed         a conversion step failed
│   ├── ChildDied            the limited child process ended without an answer
│   └── VerificationFailed   the written object is not what was planned
├── DeliveryFailed           a destination did not take what it is owed
│   ├── Unreachable          nothing was handed over: try again later
│   ├── OutcomeUnknown       it may have been taken: look before repeating
│   └── Declined             the destination said no: repeating will not help
├── DemoFailed               the demo did not reach its verified end
└── ProofConflict            the destination holds the object under another identity
"""

from __future__ import annotations


class CinelinkError(Exception):
    """Root of all errors that Cinelink raises on purpose."""


class SettingsError(CinelinkError):
    """A setting is wrong: the sentence names the key, the value and what would be right."""


class NotFound(CinelinkError):
    """No such order, recording, message or delivery."""


class NotAllowed(CinelinkError):
    """The current state does not allow this step."""


class MessageRefused(CinelinkError):
    """An inbound HL7 message cannot be applied.

    Args:
        sentence: What is wrong, where, and how to mend it.
        location: HL7 location as in ERR-2, e.g. ``PID^1^3``.
        code: HL7 table 0357 code, e.g. ``101`` (required field missing).
        rejected: True answers AR (never try again as it is), False answers AE.
    """

    def __init__(self, sentence: str, *, location: str = "", code: str = "207", rejected: bool = False) -> None:
        super().__init__(sentence)
        self.location = location
        self.code = code
        self.rejected = rejected


class OrderConflict(MessageRefused):
    """The message contradicts an order or a patient that we know; a person decides."""


class MappingError(CinelinkError):
    """A mapping table is not usable: the sentence names table, row and column."""


class MappingMiss(MappingError):
    """A value has no row in a table whose policy is to hold."""

    def __init__(self, table: str, value: str, sentence: str) -> None:
        super().__init__(sentence)
        self.table = table
        self.value = value


class Held(CinelinkError):
    """A recording must wait.

    Args:
        sentence: For what, and how to mend it.
        review: True when a person must choose an order again; False when a row, a release or an answer is missing.
    """

    def __init__(self, sentence: str, *, review: bool) -> None:
        super().__init__(sentence)
        self.review = review


class RecordingRejected(CinelinkError):
    """The file is not a usable video; it is kept where it is.

    Args:
        code: Short machine word, e.g. ``empty``, ``not-a-video``, ``truncated``.
        sentence: What is wrong and what to do.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class ConversionFailed(CinelinkError):
    """A conversion step failed; the source is untouched."""

    def __init__(self, stage: str, sentence: str) -> None:
        super().__init__(sentence)
        self.stage = stage


class ChildDied(ConversionFailed):
    """The limited child process ended without an answer (killed, out of memory or time)."""


class VerificationFailed(ConversionFailed):
    """The written object, read back, is not what was planned; it is never sent."""


class DeliveryFailed(CinelinkError):
    """A destination did not take what it is owed."""


class Unreachable(DeliveryFailed):
    """Nothing was handed over (refused connection, busy, temporary answer): try again later."""


class OutcomeUnknown(DeliveryFailed):
    """The answer is missing, so it may have been taken: look at the destination before repeating."""


class Declined(DeliveryFailed):
    """The destination understood and said no: repeating the same thing will not help."""


class DemoFailed(CinelinkError):
    """The demo did not reach its verified end; the sentence says at which step."""


class ProofConflict(CinelinkError):
    """The destination holds the object under another patient, accession or study."""
