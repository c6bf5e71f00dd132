"""MSH-18 to a codec (HL7 v2.5.1 table 0211), and decoding that never fails, but says what it had to assume."""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMED = {
    "ASCII": "ascii",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "ISO IR6": "ascii",
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "SHIFT_JIS": "shift_jis",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "GB2312": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "BIG5": "big5",
}
_LATIN = re.compile(r"(?:ISO[- _]?)?8859[-/](\d{1,2})")
_WINDOWS = re.compile(r"(?:WINDOWS|CP)[- ]?(125[0-8])")
_LATIN_PARTS = frozenset(range(1, 17)) - {12}


class Decoded(NamedTuple):
    """Text, the codec it was read with, and sentences on what did not go as declared."""

    text: str
    encoding: str
    warnings: tuple[str, ...] = ()


def codec_of(declared: str) -> str:
    """Return the Python codec for a value of MSH-18, or an empty text when we do not know it."""
    name = declared.strip().upper()
    if known := _NAMED.get(name):
        return known
    if (found := _LATIN.fullmatch(name)) and int(found[1]) in _LATIN_PARTS:
        return f"iso8859_{int(found[1])}"
    if found := _WINDOWS.fullmatch(name):
        return f"cp{found[1]}"
    return ""


def decode(raw: bytes, declared: str, default: str) -> Decoded:
    """Decode a message by MSH-18, else the sender's set, else UTF-8, else Windows-1252; it never fails.

    Args:
        raw: The message.
        declared: MSH-18, empty when not sent.
        default: What the ``senders`` table says of this sender.
    """
    warnings = []
    tried = set()
    for name, whose in ((declared, "declared in MSH-18"), (default, "of the senders table"), ("UTF-8", "tried last")):
        if not name:
            continue
        codec = codec_of(name)
        if not codec:
            warnings.append(f"character set {name!r} {whose} is not known")
            continue
        if codec in tried:
            continue
        tried.add(codec)
        text = _strictly(raw, codec)
        if text is not None:
            return Decoded(text, codec, tuple(warnings))
        warnings.append(f"the bytes are not {name} ({whose})")
    warnings.append("read as Windows-1252: names may be wrong; correct MSH-18 or the senders table")
    return Decoded(raw.decode("cp1252", errors="replace"), "cp1252", tuple(warnings))


def _strictly(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None
