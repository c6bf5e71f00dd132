"""Watch folders: which files have arrived, and which of them are whole.

There is no event to trust: a copy over the network, a preallocated file or a recorder that pauses all look finished
for a moment. So a file is whole only when nothing about it and its sidecar has changed for a while, nobody has it open
for writing, and its structure says that it is complete; or when the sender says so with a trigger file. A file that
stays quiet but never becomes complete is given out as whole too, with the reason, so that it is refused in words.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interfaces.files.sidecar import sidecar_names
from interfaces.files.writers import has_writer

#: An empty file is given up after so many times the quiet time.
EMPTY_FACTOR = 10

#: A container without an end mark must be quiet so many times as long, where nobody can say that its writer is gone.
OPEN_ENDED_FACTOR = 6

#: Containers and streams that look the same whole and cut.
OPEN_ENDED = frozenset(
    {".ts", ".m2t", ".m2ts", ".mts", ".mpg", ".mpeg", ".m2v", ".vob", ".dv", ".h264", ".264", ".h265", ".hevc"}
)

#: ``<name>.done`` or ``<name>.<ending>.done`` says that the video is complete.
TRIGGERS = (".done", ".ok")

_TEMPORARY = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".swp", ".lock", "~")
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_LITTER_FOLDERS = frozenset({"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"})

#: Control characters, and bytes that are no UTF-8 as Python shows them (PEP 383).
_UNCLEAN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

#: Of a file whose blocks hold less than this part of its size, much is not written yet.
_WRITTEN = 0.9
_BLOCK = 512

#: Path, size in bytes, modification time in ns: what tells one content of a file from the next.
Known = Callable[[Path, int, int], bool]


@dataclass(frozen=True)
class Sighting:
    """One file as it was seen.

    Attributes:
        path: Where it is.
        folder: Name of the folder directly below the inbox that it is in; empty for the inbox itself.
        size: Bytes.
        modified_ns: Modification time in ns.
        state: ``arriving``, or ``whole``: the engine may take it.
        reason: Why it is still waited for; for a whole one empty, or why it is given up as incomplete.
    """

    path: Path
    folder: str
    size: int
    modified_ns: int
    state: Literal["arriving", "whole"]
    reason: str


@dataclass(frozen=True)
class _Look:
    """What must not change: of the file itself, and of its sidecars."""

    size: int
    modified_ns: int
    blocks: int
    inode: int
    beside: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class _Found:
    """A file in a folder, with what it looks like and whether a trigger says that it is complete."""

    path: Path
    look: _Look
    triggered: bool


class Watcher:
    """Remembers between scans how long every file has been quiet. It has no thread: somebody's clock calls ``scan``.

    Args:
        is_complete: Gives an empty text for a file whose structure is complete, else a sentence on what is missing.
        quiet_seconds: How long nothing may change before a file is whole.
        stale_seconds: How long an incomplete file may stay quiet before it is given up.
        writer: Says whether another program has a file open for writing; None for "cannot tell".
    """

    def __init__(
        self,
        is_complete: Callable[[Path], str],
        quiet_seconds: float,
        *,
        stale_seconds: float = 600.0,
        writer: Callable[[Path], bool | None] = has_writer,
    ) -> None:
        self._is_complete = is_complete
        self._quiet = quiet_seconds
        self._stale = max(stale_seconds, quiet_seconds)
        self._writer = writer
        self._since: dict[Path, dict[Path, tuple[_Look, float]]] = {}
        self._taken: dict[Path, dict[Path, tuple[int, int]]] = {}
        self._problems: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences on what the last scan could not read, for people; empty when all is well."""
        return self._problems

    def scan(self, folder: Path, now: float, known: Known) -> tuple[Sighting, ...]:
        """Look once through ``folder/<station folder>/**`` and say what is there that the engine does not have.

        A folder or file that cannot be read raises nothing: ``problems`` then says so, and what can be read is given.

        Args:
            folder: The inbox.
            now: Seconds of a clock that only goes forward (``time.monotonic``).
            known: Says that the engine already has this content; asked once for each content that it knows.

        Returns:
            All waiting and whole files, by path.
        """
        problems: list[str] = []
        before, taken_before = self._since.get(folder, {}), self._taken.get(folder, {})
        since: dict[Path, tuple[_Look, float]] = {}
        taken: dict[Path, tuple[int, int]] = {}
        sightings: list[Sighting] = []
        for found in _walk(folder, problems):
            content = (found.look.size, found.look.modified_ns)
            if taken_before.get(found.path) == content or known(found.path, *content):
                taken[found.path] = content
                continue
            look, start = before.get(found.path, (None, now))
            since[found.path] = (found.look, start if look == found.look else now)
            sightings.append(self._judge(folder, found, now - since[found.path][1]))
        self._since[folder], self._taken[folder] = since, taken
        self._problems = tuple(problems)
        return tuple(sorted(sightings, key=lambda sighting: sighting.path))

    def _judge(self, folder: Path, found: _Found, quiet: float) -> Sighting:
        reason, given_up = self._verdict(found, quiet)
        below = found.path.relative_to(folder).parts
        return Sighting(
            path=found.path,
            folder=below[0] if len(below) > 1 else "",
            size=found.look.size,
            modified_ns=found.look.modified_ns,
            state="whole" if given_up or not reason else "arriving",
            reason=reason,
        )

    def _verdict(self, found: _Found, quiet: float) -> tuple[str, bool]:
        """Return why the file is not whole, and whether it is given up for that."""
        look = found.look
        if not found.triggered and quiet < self._quiet:
            return f"changed less than {self._quiet:g} s ago", False
        writer = self._writer(found.path)
        if writer:
            return "another program still has it open for writing", False
        if found.triggered:
            return "", False
        if look.size == 0:
            limit = self._quiet * EMPTY_FACTOR
            return f"empty; it is given up after {limit:g} s", quiet >= limit
        if reason := self._missing(found, quiet, sure=writer is False):
            return f"quiet, but {reason}", quiet >= self._stale
        return "", False

    def _missing(self, found: _Found, quiet: float, *, sure: bool) -> str:
        """Return what a quiet file still lacks; ``sure`` means that its writer is known to be gone."""
        blocks = found.look.blocks * _BLOCK
        if 0 < blocks < found.look.size * _WRITTEN:
            return f"only {blocks} of its {found.look.size} bytes are written"
        if found.path.suffix.lower() in OPEN_ENDED and not sure and quiet < self._quiet * OPEN_ENDED_FACTOR:
            return "a file of this kind has no end mark, and its writer may only be slow"
        try:
            return self._is_complete(found.path)
        except OSError as error:
            return f"it cannot be read ({error.strerror}); check its rights"


def _walk(folder: Path, problems: list[str]) -> Iterator[_Found]:
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        facts: dict[str, os.stat_result] = {}
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    _sort_in(entry, facts, waiting, problems)
        except OSError as error:
            problems.append(f"folder {here} cannot be read ({error.strerror}): check that it is there and our rights")
            continue
        yield from _files(here, facts)


def _sort_in(
    entry: os.DirEntry[str], facts: dict[str, os.stat_result], waiting: list[Path], problems: list[str]
) -> None:
    """Note a regular file with its facts, a folder as one to look into; leave out links, devices and hidden ones."""
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        if _is_litter(entry.name, is_folder=is_folder):
            return
        if _UNCLEAN.search(entry.name):
            problems.append(f"{entry.path!a} holds control characters or is no UTF-8: rename it")
        elif is_folder:
            waiting.append(Path(entry.path))
        elif stat.S_ISREG((found := entry.stat(follow_symlinks=False)).st_mode):
            facts[entry.name] = found
    except FileNotFoundError:
        return  # taken away while we looked
    except OSError as error:
        problems.append(f"{entry.path} cannot be looked at ({error.strerror}): check our rights")


def _is_litter(name: str, *, is_folder: bool) -> bool:
    lower = name.lower()
    if lower.startswith((".", "~$")):
        return True
    return lower in _LITTER_FOLDERS if is_folder else lower in _LITTER or lower.endswith(_TEMPORARY)


def _files(here: Path, facts: dict[str, os.stat_result]) -> Iterator[_Found]:
    for name, found in facts.items():
        if not name.lower().endswith((".json", *TRIGGERS)):
            beside = tuple(
                (other, facts[other].st_size, facts[other].st_mtime_ns)
                for other in sidecar_names(name)
                if other in facts
            )
            blocks = getattr(found, "st_blocks", 0)
            look = _Look(found.st_size, found.st_mtime_ns, blocks, found.st_ino, beside)
            yield _Found(here / name, look, _is_triggered(name, facts))


def _is_triggered(name: str, facts: dict[str, os.stat_result]) -> bool:
    """Say whether a trigger stands beside the file; one older than the file was meant for an earlier one."""
    stem = name.rpartition(".")[0] or name
    return any(
        base + ending in facts and facts[base + ending].st_mtime_ns >= facts[name].st_mtime_ns
        for base in (stem, name)
        for ending in TRIGGERS
    )
