"""Values of a data set as plain text, whatever rules of their value representation they break."""

from __future__ import annotations

from pydicom import DataElement, Dataset, config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue

_SPECIFIC_CHARACTER_SET = 0x00080005
#: Padding of text and of UIDs (PS3.5 6.2); spaces at both ends are insignificant in the text that we compare.
_PADDING = " \0"


def text_of(dataset: Dataset, keyword: str) -> str:
    r"""Return a text value without padding; empty when it is absent or empty; several values with ``\`` between them.

    Read from the bytes: pydicom would warn about a value that is too long, and quote it in its log.
    """
    value = _raw(dataset, tag_for_keyword(keyword) or 0)
    return _words(value, _encodings(dataset)) if isinstance(value, bytes) else _words(value, [])


def identifier_of(level: str, values: dict[str, str]) -> Dataset:
    """Return the identifier of a C-FIND request or answer; values are written as they are."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if not all(value.isascii() for value in values.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        if tag is not None:
            identifier.add(DataElement(tag, dictionary_VR(tag), value or None, validation_mode=config.IGNORE))
    return identifier


def _raw(dataset: Dataset, tag: int) -> object:
    return dataset.get_item(tag).value if tag in dataset else None


def _encodings(dataset: Dataset) -> list[str]:
    return convert_encodings(_words(_raw(dataset, _SPECIFIC_CHARACTER_SET), ["ascii"]).split("\\"))


def _words(value: object, encodings: list[str]) -> str:
    if isinstance(value, bytes):
        value = decode_bytes(value, encodings, set())
    if isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    return "" if value is None else str(value).strip(_PADDING)
