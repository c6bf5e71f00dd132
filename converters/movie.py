"""MP4 and MOV files: facts from boxes, sample table and parameter sets; a gigabyte takes milliseconds."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from converters.boxes import Entry, Movie, Track, clean_text, damaged, entries, read_movie
from converters.coded_units import Record, avc_halves, is_frame_packed, most_adverse, parameters_in, read_record
from converters.conformance import Defect
from converters.packets import read_packet_facts
from converters.parameter_sets import Parameters
from converters.reading import Coded, describe_source, pace_of, peak_bits
from converters.sample_table import Mask, Samples, edits, read_samples, require_inside
from models.errors import RecordingRejected
from models.recording import AudioFacts, StreamFacts

_HEAD = 4096
_FOREVER = 1 << 62
_MOST_KEYS = 4096
_MOST_SAMPLE = 64 << 20

_VIDEO_ENTRIES = {
    "avc1": "h264", "avc3": "h264", "dva1": "h264", "dvav": "h264",
    "hvc1": "hevc", "hev1": "hevc", "dvh1": "hevc", "dvhe": "hevc",
}  # fmt: skip
_SOUND_ENTRIES = {
    ".mp3": "mp3", "ac-3": "ac3", "ec-3": "eac3", "sowt": "pcm_s16le", "twos": "pcm_s16be", "alac": "alac",
    "Opus": "opus", "fLaC": "flac", "samr": "amrnb", "ulaw": "pcm_mulaw", "alaw": "pcm_alaw", "lpcm": "lpcm",
    "ipcm": "lpcm",
}  # fmt: skip
_SOUND_OBJECTS = {0x40: "aac", 0x66: "aac", 0x67: "aac", 0x68: "aac", 0x69: "mp3", 0x6B: "mp3", 0xA5: "ac3"}
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def read_movie_facts(path: Path, file: FileIO, size: int) -> StreamFacts:
    """Read an MP4 or MOV file; its hash is left to the caller.

    Raises:
        RecordingRejected: ``no-video-stream``, ``truncated``, ``damaged`` or ``too-large-picture``.
    """
    movie = read_movie(file, size)
    videos = [track for track in movie.tracks if track.handler == "vide" and not _still(track)]
    if not videos:
        raise RecordingRejected("no-video-stream", "the file holds no video: send the recording itself")
    track = videos[0]
    described = entries(track)
    facts = _movie_facts(size, movie, track, described)
    if movie.fragmented or described[0].kind not in _VIDEO_ENTRIES:
        found = read_packet_facts(path, file, size).model_dump()
        if not movie.fragmented:
            found["edited"] |= _shown(track, movie, read_samples(track, size))[1]
    else:
        found = {"size": size, "sha256": "", **_coded_movie(file, size, movie, track, described[0]).facts()}
    defects = dict.fromkeys((*found["defects"], *facts.pop("defects")))
    return StreamFacts.model_validate({**found, **facts, "video_streams": len(videos), "defects": tuple(defects)})


def _still(track: Track) -> bool:
    """Tell whether a video track is only a picture, such as a cover or a thumbnail."""
    data = track.table("stsz")
    return entries(track)[0].kind in ("jpeg", "png ", "mjpa") and int.from_bytes(data[8:12], "big") <= 1


def _movie_facts(size: int, movie: Movie, track: Track, described: list[Entry]) -> dict[str, Any]:
    """Return what the boxes alone say."""
    defects = ["a box claims bytes beyond the end of the file"] if movie.overrun else []
    turns = (movie.rotation, track.rotation)
    if None in turns:
        defects.append(Defect.MIRRORED)
    if len(described) > 1:
        defects.append(Defect.DESCRIPTIONS)
    private = movie.private
    for one in movie.tracks if not movie.fragmented else ():
        samples = require_inside(one, size) if one.table("stsz") else None
        private = tuple(box for box in private if samples is None or not samples.overlaps(box))
    if len(private) < len(movie.private):
        defects.append("a box for private data holds picture or sound data")
    sounds = [one for one in movie.tracks if one.handler == "soun"]
    others = [one for one in movie.tracks if one.handler not in ("soun", "vide") or (one is not track and _still(one))]
    return {
        "container": "mp4" if movie.brand not in ("", "qt  ") else "mov",
        "brand": clean_text(movie.brand) + " " * (4 - len(clean_text(movie.brand))) if movie.brand else "",
        "codec_tag": clean_text(described[0].kind),
        "rotation": sum(one or 0 for one in turns) % 360,
        "fragmented": movie.fragmented,
        "moov_first": movie.moov_first,
        "audio": tuple(_sound(entries(one)[0]) for one in sounds),
        "other_streams": tuple(_data_kind(one) for one in others),
        "private_boxes": private,
        "defects": tuple(defects),
        **describe_source(movie.texts, movie.created),
    }


def _data_kind(track: Track) -> str:
    kind = track.table("stsd")[12:16].decode("latin-1")
    return clean_text(kind) or clean_text(track.handler) or "data"


def _sound(entry: Entry) -> AudioFacts:
    """Return what a sound entry says; the decoder's own configuration wins (ISO/IEC 14496-3 1.6.2.1)."""
    fields = entry.fields
    channels, rate = int.from_bytes(fields[16:18], "big"), int.from_bytes(fields[24:26], "big")
    if fields[8:10] == b"\0\2":
        rate, channels = int(np.frombuffer(fields[32:40], ">f8")[0]), int.from_bytes(fields[40:44], "big")
    codec = _SOUND_ENTRIES.get(entry.kind, clean_text(entry.kind))
    if entry.kind == "mp4a":
        kind, config = _descriptors(entry.boxes.get("esds", b"")[4:])
        codec = _SOUND_OBJECTS.get(kind, codec if kind else "aac")
        if codec == "aac" and len(config) > 1:
            bits = int.from_bytes(config[:2], "big")
            index, setup = bits >> 7 & 15, bits >> 3 & 15
            rate = _AAC_RATES[index] if index < len(_AAC_RATES) else rate
            channels = {0: channels, 7: 8}.get(setup, setup)
    return AudioFacts(codec=codec, sample_rate=rate, channels=channels)


def _descriptors(data: bytes) -> tuple[int, bytes]:
    """Return object type and decoder configuration of an elementary stream descriptor (ISO/IEC 14496-1 7.2.6)."""
    kind, at = 0, 0
    while at + 2 <= len(data):
        tag, at, size = data[at], at + 1, 0
        for _ in range(4):
            size, more = size << 7 | data[at] & 127, data[at] & 128
            at += 1
            if not more or at >= len(data):
                break
        if tag == 3:  # noqa: PLR2004 - ES_Descriptor: go on inside, after its fixed fields
            at += 3
        elif tag == 4:  # noqa: PLR2004 - DecoderConfigDescriptor: likewise
            kind, at = int.from_bytes(data[at : at + 1], "big"), at + 13
        elif tag == 5:  # noqa: PLR2004 - DecoderSpecificInfo
            return kind, data[at : at + size]
        else:
            at += size
    return kind, b""


def _coded_movie(file: FileIO, size: int, movie: Movie, track: Track, entry: Entry) -> Coded:
    """Read parameter sets and sample table of an H.264 or HEVC track."""
    samples = read_samples(track, size)
    codec = _VIDEO_ENTRIES[entry.kind]
    record = read_record(codec, entry.boxes.get("avcC" if codec == "h264" else "hvcC", b""))
    sets, defects = _sets_of_movie(file, samples, codec, record)
    sets = _with_boxes(sets, entry)
    shown, edited = _shown(track, movie, samples)
    times = samples.times[shown]
    first_key = samples.times[samples.keys].min(initial=np.iinfo(np.int64).max)
    starts = bool(samples.count and samples.keys[0])
    if not starts:
        times = times[times >= first_key]
    frames = len(times)
    if not sets.progressive and codec == "h264" and samples.count:
        halves = sum(avc_halves(record.split(_sample(file, samples, n)), sets) for n in range(samples.count))
        if halves != 2 * samples.count:
            defects.append(Defect.FIELDS)
            frames, times = min(frames, (halves + 1) // 2), times[::2] if halves == samples.count else times
    base = Fraction(1, track.timescale)
    pace = replace(pace_of(times, base, samples.last, None), peak_bits=peak_bits(samples.sizes, samples.decoded, base))
    if _lies(entry, track, sets):
        defects.append("the container gives another picture size than the stream, which counts")
    return Coded(sets, pace, frames, starts, edited, (*samples.oddities, *defects))


def _sample(file: FileIO, samples: Samples, number: int, most: int = _MOST_SAMPLE) -> bytes:
    length = int(samples.sizes[number])
    if length > _MOST_SAMPLE:
        raise damaged(f"one picture has {length:,} bytes")
    return os.pread(file.fileno(), min(length, most), int(samples.offsets[number]))


def _sets_of_movie(file: FileIO, samples: Samples, codec: str, record: Record) -> tuple[Parameters, list[str]]:
    """Return the stream's parameters: those of the header, held against those inside the key frames."""
    defects: list[str] = []
    found = parameters_in(codec, record.units)
    keys = np.flatnonzero(samples.keys)
    chosen = keys[np.linspace(0, len(keys) - 1, min(len(keys), _MOST_KEYS)).astype(np.int64)] if len(keys) else keys
    for number in chosen.tolist():
        units = record.split(_sample(file, samples, number, _HEAD), cut=int(samples.sizes[number]) > _HEAD)
        inside = parameters_in(codec, units)
        if not found and inside:
            found, defects = inside, [Defect.SETS_IN_STREAM]
        if any(one.shape != found[0].shape for one in inside):
            defects.append(Defect.CHANGES)
            break
        if number == keys[0] and codec == "h264" and is_frame_packed(units):
            found = [replace(one, stereo=True) for one in found]
    return _only(found, defects), defects


def _only(found: list[Parameters], defects: list[str]) -> Parameters:
    if not found:
        raise damaged("the stream's parameters are missing")
    if any(one.shape != found[0].shape for one in found):
        defects.append(Defect.CHANGES)
    return most_adverse(found)


def _with_boxes(sets: Parameters, entry: Entry) -> Parameters:
    """Add what only the container says: pixel shape, transfer curve, a second view."""
    pixel, colour, stereo = (entry.boxes.get(name, b"") for name in ("pasp", "colr", "st3d"))
    across, down = int.from_bytes(pixel[:4], "big"), int.from_bytes(pixel[4:8], "big")
    if sets.aspect is None and across and down:
        sets = replace(sets, aspect=Fraction(across, down))
    if not sets.transfer and colour[:4] in (b"nclx", b"nclc"):
        sets = replace(sets, transfer={16: "pq", 18: "hlg"}.get(int.from_bytes(colour[6:8], "big"), ""))
    return replace(sets, stereo=sets.stereo or "lhvC" in entry.boxes or stereo[4:5] not in (b"", b"\0"))


def _lies(entry: Entry, track: Track, sets: Parameters) -> bool:
    """Tell whether the container shows the pictures in another size or shape than the stream has."""
    said = (int.from_bytes(entry.fields[24:26], "big"), int.from_bytes(entry.fields[26:28], "big"))
    shape = Fraction(sets.width, sets.height)
    shapes = (shape, shape * (sets.aspect or 1))
    stretched = track.shown is not None and all(abs(track.shown / one - 1) > Fraction(1, 50) for one in shapes)
    return said != (sets.width, sets.height) or stretched


def _shown(track: Track, movie: Movie, samples: Samples) -> tuple[Mask, bool]:
    """Return which samples the edit list shows, and whether it hides or reorders any (ISO/IEC 14496-12 8.6.6)."""
    parts = [edit for edit in edits(track) if edit[1] >= 0]
    if not parts:
        return np.ones(samples.count, np.bool_), False
    order = np.argsort(samples.times, kind="stable")
    times = samples.times[order]
    often = np.zeros(samples.count + 1, np.int64)
    for length, begin, _ in parts:
        end = begin + Fraction(length * track.timescale, movie.timescale) if length and movie.timescale else _FOREVER
        first, after = np.searchsorted(times, [begin, min(math.ceil(end), _FOREVER)])
        often[first] += 1
        often[max(first, after)] -= 1
    shown = np.empty(samples.count, np.bool_)
    shown[order] = np.cumsum(often)[:-1] > 0
    plain = len(parts) == 1 and parts[0][2] == 1 << 16
    return shown, not (plain and shown.all())
