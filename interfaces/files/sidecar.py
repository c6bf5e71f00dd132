"""What a sidecar says: ``<name>.json`` or ``<name>.<ending>.json`` beside the video, written by the recorder.

A sidecar is hostile until it is read: bounded, never followed as a link, and whatever is wrong with it becomes a
sentence. One that names two identities gives both, so that matching sees the conflict (clinical.md 3).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from interfaces.files.claims import GROUP, KEYS, clean
from interfaces.files.moments import from_iso
from models.recording import Claim
from models.value import Value

#: A larger sidecar is none.
LARGEST = 1024 * 1024

_STARTED = "started_at"

#: So many unknown keys are told, each up to so many characters.
_SHOWN = 40
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class SidecarReading(Value):
    """What the sidecars of a video say; empty when there is none.

    Attributes:
        claims: All of the group ``recorder``; two of one key when the sidecar contradicts itself.
        started_at: When the recording began, UTC; None when it does not say or the time is worthless.
        problem: Sentences on what is wrong, empty for nothing.
        files: Names of the sidecars that were read.
        ignored: Keys that mean nothing to us.
    """

    claims: tuple[Claim, ...] = ()
    started_at: datetime | None = None
    problem: str = ""
    files: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def sidecar_names(name: str) -> tuple[str, ...]:
    """Return the names that a sidecar of the video ``name`` may have."""
    stem = name.rpartition(".")[0] or name
    bases = dict.fromkeys((stem, name))
    return tuple(f"{base}{ending}" for base in bases for ending in (".json", ".JSON"))


def read_sidecar(video: Path, zone: str = "") -> SidecarReading:
    """Return what the sidecars beside a video say; never raises for what they hold.

    Args:
        video: The video, which is not opened.
        zone: IANA zone for a ``started_at`` without an offset; empty when an offset is needed.
    """
    pairs: list[tuple[str, object]] = []
    problems: list[str] = []
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    for name in sidecar_names(video.name):
        data, identity, words = _read(video.with_name(name))
        if identity in seen or (data is None and not words):
            continue
        seen.add(identity)
        files.append(name)
        found, wrong = _parse(data) if data is not None else ([], words)
        pairs += found
        problems += [f"a sidecar of the video is not used: {wrong}"] if wrong else []
    return _reading(pairs, problems, tuple(files), zone)


def _read(path: Path) -> tuple[bytes | None, tuple[int, int], str]:
    """Return a sidecar's bytes, what identifies the file, and why it is not read."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENAMETOOLONG}:
            return None, (0, 0), ""
        return None, (0, 0), f"it cannot be opened ({error.strerror}); it must be a plain file that we may read"
    try:
        return _bounded(handle)
    finally:
        os.close(handle)


def _bounded(handle: int) -> tuple[bytes | None, tuple[int, int], str]:
    facts = os.fstat(handle)
    identity = (facts.st_dev, facts.st_ino)
    if not stat.S_ISREG(facts.st_mode):
        return None, identity, "it is no plain file"
    try:
        with os.fdopen(handle, "rb", closefd=False) as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        return None, identity, f"it cannot be read ({error.strerror})"
    if len(data) > LARGEST:
        return None, identity, f"it is larger than {LARGEST >> 20} MiB"
    return data, identity, ""


def _parse(data: bytes) -> tuple[list[tuple[str, object]], str]:
    """Return the keys and values of the outermost object, doubles included, and what is wrong."""
    try:
        # Only the outermost call's list matters, so objects stay lists of pairs and doubles are not lost.
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except UnicodeDecodeError:
        return [], "it is not UTF-8; save it as UTF-8"
    except RecursionError:
        return [], "it is nested too deeply"
    except ValueError as error:
        return [], f"it is not JSON ({getattr(error, 'msg', 'a number is too long')}); it may have been cut off"
    if not isinstance(found, _Pairs):
        return [], 'it must be one JSON object such as {"accession": "E1001"}'
    return list(found), ""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it was written, with keys that occur twice."""


def _reading(pairs: list[tuple[str, object]], problems: list[str], files: tuple[str, ...], zone: str) -> SidecarReading:
    claims: dict[tuple[str, str], Claim] = {}
    times: dict[str, datetime | None] = {}
    for key, value, words in _texts(pairs):
        if words:
            problems.append(words)
        elif key == _STARTED:
            times[value], wrong = from_iso(value, zone)
            problems += [wrong] if wrong else []
        else:
            text, wrong = clean(key, value)
            problems += [wrong] if wrong else []
            if text:
                claims[key, text] = Claim(source="sidecar", group=GROUP, key=key, value=text)
    keys = [key for key, _ in claims] + [_STARTED] * len(times)
    problems += [f"{key} has two values; a person decides" for key in sorted({k for k in keys if keys.count(k) > 1})]
    started = next(iter(times.values())) if len(times) == 1 else None
    unknown = dict.fromkeys(key[:_SHOWN] for key, _ in pairs if key not in KEYS and key != _STARTED)
    ignored = tuple(key for key in unknown if key.isprintable())[:_SHOWN]
    return SidecarReading(
        claims=tuple(claims.values()), started_at=started, problem="; ".join(problems), files=files, ignored=ignored
    )


def _texts(pairs: list[tuple[str, object]]) -> Iterator[tuple[str, str, str]]:
    """Yield key, text and what is wrong of every pair that means something to us."""
    for key, value in pairs:
        if (key not in KEYS and key != _STARTED) or value is None:
            continue
        if isinstance(value, str):
            yield key, value, ""
        else:
            yield key, "", f"{key} must be a text in quotes, so that leading zeros survive; it is not used"
