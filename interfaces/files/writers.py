"""Whether another program still has a file open for writing: asked of the kernel where it knows."""

from __future__ import annotations

import errno
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

#: File systems on which "busy" can only mean a writer of this machine. Network mounts also answer so when they merely
#: have no lease to give, and then the answer says nothing.
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "tmpfs", "overlay"})

if sys.platform == "linux":
    import fcntl

    def has_writer(path: Path) -> bool | None:
        """Say whether another program has the file open for writing; None when the file system cannot tell.

        A read lease (fcntl F_SETLEASE) is refused while somebody may write. The file is opened for reading, never as a
        link, and not changed.
        """
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _refuses_lease(handle)
        finally:
            os.close(handle)

    def _refuses_lease(handle: int) -> bool | None:
        # Who opens the file during the lease makes the kernel send us a signal. Its default, SIGIO, would end this
        # process; SIGURG is ignored by default.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return True if _is_local(os.fstat(handle).st_dev) else None
            return None  # not our file, or no leases on this file system
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

else:

    def has_writer(path: Path) -> bool | None:
        """Say None: only Linux tells."""
        del path
        return None


@lru_cache(maxsize=64)
def _is_local(device: int) -> bool:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    # Each line: id parent major:minor root mount options ... - type source options (proc(5)).
    mounts = (line.split() for line in lines)
    return any(
        fields[2] == wanted and "-" in fields and fields[fields.index("-") + 1] in _LOCAL
        for fields in mounts
        if len(fields) > 2  # noqa: PLR2004 - the place of major:minor
    )
