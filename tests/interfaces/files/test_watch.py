"""A file is taken when it is whole, never before, and once; every clock is the test's own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from interfaces.files.watch import EMPTY_FACTOR, OPEN_ENDED_FACTOR, Watcher
from interfaces.files.writers import has_writer

QUIET = 5.0
STALE = 100.0


def nobody_knows(*_):
    return False


class Inbox:
    """An inbox with a watcher, a clock that the test moves, and a structure check that looks for an end mark."""

    def __init__(self, folder, writer=lambda _: None):
        self.folder = folder
        self.station = folder / "endo1"
        self.station.mkdir()
        self.now = 1000.0
        self.watcher = Watcher(self._is_complete, QUIET, stale_seconds=STALE, writer=writer)

    @staticmethod
    def _is_complete(path):
        return "" if path.read_bytes().endswith(b"END") else "its end is missing"

    def put(self, name, data=b"video END", modified=None):
        path = self.station / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if modified is not None:
            os.utime(path, (modified, modified))
        return path

    def look(self, after=0.0, known=nobody_knows):
        self.now += after
        return self.watcher.scan(self.folder, self.now, known)

    def states(self, after=0.0, known=nobody_knows):
        return {sighting.path.name: sighting.state for sighting in self.look(after, known)}


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return Inbox(folder)


def test_a_file_that_is_quiet_and_complete_is_whole(inbox):
    path = inbox.put("case.mp4")
    (first,) = inbox.look()
    assert (first.state, first.reason) == ("arriving", "changed less than 5 s ago")
    (second,) = inbox.look(QUIET)
    assert (second.state, second.reason) == ("whole", "")
    assert (second.path, second.folder, second.size) == (path, "endo1", 9)
    assert second.modified_ns == path.stat().st_mtime_ns


def test_a_slow_copy_is_waited_for_to_its_last_byte(inbox):
    path = inbox.put("case.mp4", b"")
    for step in range(20):
        with path.open("ab") as stream:
            stream.write(b"part ")
        os.utime(path, ns=(step * 10**9, step * 10**9))
        assert inbox.states(after=QUIET - 1) == {"case.mp4": "arriving"}
    with path.open("ab") as stream:
        stream.write(b"END")
    assert inbox.states(after=QUIET) == {"case.mp4": "arriving"}
    assert inbox.states(after=QUIET) == {"case.mp4": "whole"}


def test_a_copy_that_stalls_is_not_taken_for_whole(inbox):
    path = inbox.put("case.mp4", b"the first half")
    inbox.look()
    (stalled,) = inbox.look(after=STALE - 1)
    assert (stalled.state, stalled.reason) == ("arriving", "quiet, but its end is missing")
    path.write_bytes(b"the first half, the second END")
    assert inbox.states(after=1) == {"case.mp4": "arriving"}
    assert inbox.states(after=QUIET) == {"case.mp4": "whole"}


def test_a_file_that_never_becomes_complete_is_given_out_with_its_reason(inbox):
    inbox.put("cut.mp4", b"cut off")
    inbox.look()
    (given_up,) = inbox.look(after=STALE)
    assert (given_up.state, given_up.reason) == ("whole", "quiet, but its end is missing")


def test_a_preallocated_copy_is_not_whole_while_its_blocks_are_not_written(inbox):
    path = inbox.put("case.mp4", b"")
    size = 4 << 20
    with path.open("r+b") as stream:
        stream.truncate(size)
        stream.seek(size - 3)
        stream.write(b"END")
    os.utime(path, (1, 1))
    inbox.look()
    (preallocated,) = inbox.look(after=QUIET)
    assert preallocated.state == "arriving"
    assert "bytes are written" in preallocated.reason
    with path.open("r+b") as stream:
        stream.write(b"x" * (size - 3))
    os.utime(path, (1, 1))  # the size and the time are as before: only the blocks tell
    assert inbox.states(after=1) == {"case.mp4": "arriving"}
    assert inbox.states(after=QUIET) == {"case.mp4": "whole"}


def test_a_file_renamed_in_starts_its_own_quiet_time(inbox):
    path = inbox.put("case.mp4.part")
    assert inbox.look(after=60) == ()
    path.rename(path.with_suffix(""))
    assert inbox.states() == {"case.mp4": "arriving"}
    assert inbox.states(after=QUIET) == {"case.mp4": "whole"}


def test_a_file_replaced_by_another_of_the_same_size_and_time_starts_again(inbox):
    path = inbox.put("case.mp4", b"first END", modified=1)
    inbox.look()
    inbox.put("next.mp4", b"other END", modified=1).rename(path)
    assert inbox.states(after=QUIET) == {"case.mp4": "arriving"}


def test_a_file_that_the_engine_has_is_not_told_again(inbox):
    inbox.put("case.mp4")
    inbox.look()
    assert inbox.look(QUIET, known=lambda *_: True) == ()


def test_other_bytes_under_the_name_of_a_file_that_the_engine_has_are_a_new_file(inbox):
    old = inbox.put("case.mp4", modified=1).stat()

    def known(_, size, modified_ns):
        return (size, modified_ns) == (old.st_size, old.st_mtime_ns)

    assert inbox.look(QUIET, known) == ()
    inbox.put("case.mp4", b"another video END", modified=2)
    assert inbox.states(QUIET, known) == {"case.mp4": "arriving"}
    assert inbox.states(QUIET, known) == {"case.mp4": "whole"}


def test_the_engine_is_asked_once_for_each_content_that_it_has(inbox):
    for number in range(50):
        inbox.put(f"{number}.mp4")
    asked = []

    def known(path, *_):
        asked.append(path)
        return True

    for _ in range(5):
        inbox.look(QUIET, known)
    assert len(asked) == 50


def test_a_whole_file_stays_whole_until_the_engine_has_it(inbox):
    inbox.put("case.mp4")
    inbox.look()
    assert inbox.states(QUIET) == {"case.mp4": "whole"}
    assert inbox.states(QUIET) == {"case.mp4": "whole"}


def test_after_a_restart_the_quiet_time_begins_again(inbox):
    inbox.put("case.mp4", modified=1)
    inbox.look()
    fresh = Watcher(lambda _: "", QUIET)
    assert fresh.scan(inbox.folder, inbox.now + QUIET, nobody_knows)[0].state == "arriving"


def test_an_empty_file_is_waited_for_and_then_given_out(inbox):
    inbox.put("empty.mp4", b"")
    inbox.look()
    assert inbox.states(QUIET) == {"empty.mp4": "arriving"}
    (given_up,) = inbox.look(QUIET * EMPTY_FACTOR)
    assert given_up.state == "whole"
    assert given_up.reason.startswith("empty")


@pytest.mark.parametrize("trigger", ["case.mp4.done", "case.done", "case.mp4.ok", "CASE.mp4.done"])
def test_a_trigger_file_ends_the_wait_at_once(inbox, trigger):
    inbox.put("case.mp4", modified=10)
    inbox.put(trigger, b"", modified=11)
    expected = "arriving" if trigger.startswith("CASE") else "whole"  # another name is another file's trigger
    assert inbox.states() == {"case.mp4": expected}


def test_a_trigger_older_than_the_file_was_meant_for_another(inbox):
    inbox.put("case.mp4.done", b"", modified=10)
    inbox.put("case.mp4", modified=11)
    assert inbox.states() == {"case.mp4": "arriving"}


def test_a_sidecar_that_still_changes_keeps_its_video_waiting(inbox):
    inbox.put("case.mp4", modified=1)
    inbox.put("case.json", b"{", modified=1)
    inbox.look()
    inbox.put("case.json", b"{}", modified=2)
    assert inbox.states(QUIET) == {"case.mp4": "arriving"}
    assert inbox.states(QUIET) == {"case.mp4": "whole"}


@pytest.mark.parametrize(
    "name",
    [
        "a.mp4.part", "a.mp4.filepart", "a.tmp", "a.mp4~", "~$a.mp4", "a.crdownload", ".a.mp4.X9f2", ".hidden.mp4",
        "Thumbs.db", ".smbdelete0001", "a.json", "a.JSON", "a.done", "a.mp4.ok", "@eaDir/a.mp4", ".trash/a.mp4",
        "#recycle/a.mp4",
    ],
)  # fmt: skip
def test_what_is_no_video_yet_or_never_is_not_told(inbox, name):
    inbox.put(name)
    inbox.look()
    assert inbox.look(STALE) == ()
    assert inbox.watcher.problems == ()


def test_a_file_of_any_other_ending_is_told_so_that_it_is_refused_in_words(inbox):
    inbox.put("notes.txt")
    inbox.look()
    assert inbox.states(QUIET) == {"notes.txt": "whole"}


def test_links_and_special_files_are_never_followed(inbox, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.mp4").write_bytes(b"END")
    (inbox.station / "link.mp4").symlink_to(outside / "secret.mp4")
    (inbox.station / "folder").symlink_to(outside)
    (inbox.station / "loop").symlink_to(inbox.station)
    os.mkfifo(inbox.station / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(inbox.station / "s.mp4"))
        inbox.look()
        assert inbox.look(STALE) == ()


def test_files_in_deeper_folders_belong_to_the_station_folder(inbox):
    inbox.put("M1001/20261122101500/clip.mp4")
    (found,) = inbox.look()
    assert found.folder == "endo1"


def test_a_file_in_the_inbox_itself_belongs_to_no_station(inbox):
    (inbox.folder / "loose.mp4").write_bytes(b"END")
    (found,) = inbox.look()
    assert found.folder == ""


def test_an_inbox_that_is_not_there_is_told_and_comes_back(inbox):
    inbox.put("case.mp4")
    moved = inbox.folder.rename(inbox.folder.with_name("gone"))
    assert inbox.look() == ()
    (sentence,) = inbox.watcher.problems
    assert "cannot be read (No such file or directory)" in sentence
    moved.rename(inbox.folder)
    assert inbox.states() == {"case.mp4": "arriving"}
    assert inbox.watcher.problems == ()


def test_one_unreadable_folder_does_not_hide_the_others(inbox, monkeypatch):
    inbox.put("locked/a.mp4")
    inbox.put("open/b.mp4")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("interfaces.files.watch.os.scandir", refuse)
    assert inbox.states() == {"b.mp4": "arriving"}
    assert "Permission denied" in inbox.watcher.problems[0]


def test_a_name_that_is_no_utf8_is_told_and_nothing_breaks(inbox):
    path = os.fsencode(inbox.station) + b"/M\xfcller.mp4"
    Path(os.fsdecode(path)).write_bytes(b"END")
    assert inbox.look() == ()
    (sentence,) = inbox.watcher.problems
    assert "rename it" in sentence
    sentence.encode()  # can be stored and shown


def test_a_name_with_blanks_and_letters_of_any_script_is_fine(inbox):
    inbox.put("Müller 2026 10.15\u202fAM 漢.mp4")
    assert len(inbox.look()) == 1


def test_a_file_that_another_program_has_open_waits_however_quiet_it_is(tmp_path):
    inbox = Inbox(tmp_path, writer=lambda _: True)
    inbox.put("case.mp4")
    inbox.put("case.mp4.done", b"")
    inbox.look()
    (found,) = inbox.look(STALE)
    assert (found.state, found.reason) == ("arriving", "another program still has it open for writing")


def test_a_stream_without_an_end_mark_waits_longer_when_nobody_can_say_that_its_writer_is_gone(inbox):
    inbox.put("tape.m2t")
    inbox.look()
    assert inbox.states(QUIET) == {"tape.m2t": "arriving"}
    assert inbox.states(QUIET * OPEN_ENDED_FACTOR) == {"tape.m2t": "whole"}


def test_a_stream_without_an_end_mark_is_whole_when_its_writer_is_gone(tmp_path):
    inbox = Inbox(tmp_path, writer=lambda _: False)
    inbox.put("tape.m2t")
    inbox.look()
    assert inbox.states(QUIET) == {"tape.m2t": "whole"}


def test_a_file_that_goes_away_during_the_check_is_no_error(inbox):
    def vanished(_):
        raise FileNotFoundError(2, "No such file or directory")

    inbox.put("case.mp4")
    watcher = Watcher(vanished, QUIET)
    watcher.scan(inbox.folder, 0.0, nobody_knows)
    (found,) = watcher.scan(inbox.folder, QUIET, nobody_knows)
    assert found.state == "arriving"


def test_thousands_of_files_are_looked_at_without_opening_any_that_is_known(inbox):
    def explode(path):
        raise AssertionError(path)

    for number in range(3000):
        inbox.put(f"{number:04}.mp4", b"")
    watcher = Watcher(explode, QUIET, writer=explode)
    assert len(watcher.scan(inbox.folder, 0.0, nobody_knows)) == 3000
    assert watcher.scan(inbox.folder, QUIET, lambda *_: True) == ()


def test_two_inboxes_do_not_disturb_each_other(inbox, tmp_path):
    other = tmp_path / "other"
    (other / "us1").mkdir(parents=True)
    (other / "us1" / "b.mp4").write_bytes(b"END")
    inbox.put("a.mp4")
    for now in (0.0, QUIET):
        mine = inbox.watcher.scan(inbox.folder, now, nobody_knows)
        theirs = inbox.watcher.scan(other, now, nobody_knows)
    assert [found.state for found in (*mine, *theirs)] == ["whole", "whole"]


def test_the_kernel_tells_an_open_writer_from_a_closed_one(tmp_path):
    path = tmp_path / "case.mp4"
    with path.open("wb") as stream:
        stream.write(b"half")
        stream.flush()
        open_verdict = has_writer(path)
    assert open_verdict in {True, None}  # None: this file system cannot tell
    assert has_writer(path) in {False, None}
    assert (open_verdict is None) == (has_writer(path) is None)


def test_a_writer_that_comes_during_the_question_does_no_harm(tmp_path):
    path = tmp_path / "case.mp4"
    path.write_bytes(b"x")
    code = f"for _ in range(3000): open({str(path)!r}, 'ab').close()"
    with subprocess.Popen([sys.executable, "-c", code]) as appender:
        while appender.poll() is None:
            has_writer(path)
        assert appender.returncode == 0


def test_a_file_that_is_not_there_or_a_link_has_no_writer_that_we_know(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert has_writer(tmp_path / "gone") is None
    assert has_writer(tmp_path / "link") is None
