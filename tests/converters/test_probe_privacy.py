from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest

from converters.probe import probe
from tests.converters.clips import draw_clip, rewrite

EPOCH = datetime(1904, 1, 1, tzinfo=UTC)


def box(kind, payload):
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def quicktime_text(kind, text):
    return box(kind, struct.pack(">HH", len(text.encode()), 0x15C7) + text.encode())


def with_movie_box(path, extra):
    """Append a box to the index, which must be the last box of the file."""
    content = path.read_bytes()
    place = content.index(b"moov") - 4
    size = int.from_bytes(content[place : place + 4], "big")
    assert place + size == len(content)
    path.write_bytes(content[:place] + struct.pack(">I", size + len(extra)) + content[place + 4 :] + extra)
    return path


def plain(tmp_path, **options):
    return draw_clip(tmp_path / "a.mp4", frames=5, size=(160, 120), **options)


def names(facts):
    return [one.name for one in facts.private_boxes]


def test_a_title_is_a_text_and_its_box_is_private_where_it_stands(tmp_path):
    clip = plain(tmp_path, metadata={"title": "Erika Muster", "comment": "ACC E1001"})
    facts = probe(clip)
    assert facts.texts == {"title": "Erika Muster", "comment": "ACC E1001"}
    (found,) = facts.private_boxes
    assert (found.name, found.header) == ("moov/udta", 8)
    content = clip.read_bytes()
    assert content[found.offset + 4 : found.offset + 8] == b"udta"
    assert b"Erika Muster" in content[found.offset : found.offset + found.size]


def test_the_name_of_the_program_that_wrote_a_file_is_not_private(tmp_path):
    tool = box(b"ilst", box(b"\xa9too", box(b"data", struct.pack(">II", 1, 0) + b"Recorder 2.1")))
    meta = box(b"meta", bytes(4) + box(b"hdlr", bytes(25)) + tool)
    facts = probe(with_movie_box(plain(tmp_path), box(b"udta", meta)))
    assert (names(facts), facts.texts) == ([], {})


@pytest.mark.parametrize("kind", [b"\xa9xyz", b"\xa9nam", b"\xa9mak", b"abcd", b"loci"])
def test_a_position_an_owner_or_anything_unknown_beside_it_is_private(tmp_path, kind):
    udta = box(b"udta", quicktime_text(b"\xa9too", "Recorder") + quicktime_text(kind, "+51.5334-000.1255/"))
    assert names(probe(with_movie_box(plain(tmp_path), udta))) == ["moov/udta"]


def test_bytes_behind_the_last_box_of_user_data_are_private(tmp_path):
    assert names(probe(with_movie_box(plain(tmp_path), box(b"udta", bytes(4))))) == []
    assert names(probe(with_movie_box(plain(tmp_path), box(b"udta", b"Anna")))) == ["moov/udta"]


def test_boxes_outside_the_index_and_in_tracks_are_found_too(tmp_path):
    clip = plain(tmp_path)
    content = clip.read_bytes()
    place = content.index(b"trak") - 4
    size = int.from_bytes(content[place : place + 4], "big")
    extra = box(b"udta", quicktime_text(b"\xa9nam", "Anna"))
    track = struct.pack(">I", size + len(extra)) + content[place + 4 : place + size] + extra
    clip.write_bytes(content[:place] + track + content[place + size :])
    moov = clip.read_bytes().index(b"moov") - 4
    whole = bytearray(clip.read_bytes())
    whole[moov : moov + 4] = struct.pack(">I", len(whole) - moov)
    clip.write_bytes(bytes(whole) + box(b"uuid", b"0123456789abcdefXMP of Anna") + box(b"meta", b"0000Anna"))
    facts = probe(clip)
    assert names(facts) == ["moov/trak/udta", "uuid", "meta"]
    content = clip.read_bytes()
    for one in facts.private_boxes:
        assert content[one.offset + 4 : one.offset + 8].decode() == one.name.rsplit("/", 1)[-1]


def test_a_private_box_with_picture_data_in_it_is_never_offered_for_blanking(tmp_path):
    clip = plain(tmp_path)
    content = clip.read_bytes()
    clip.write_bytes(content.replace(b"mdat", b"uuid", 1))
    facts = probe(clip)
    assert names(facts) == []
    assert facts.defects == ("a box for private data holds picture or sound data",)


def test_device_and_time_come_from_a_phones_own_keys(tmp_path):
    keys = ["com.apple.quicktime.make", "com.apple.quicktime.model", "com.apple.quicktime.creationdate",
            "com.apple.quicktime.location.ISO6709", "com.apple.quicktime.title"]  # fmt: skip
    values = ["Apple", "iPhone 14", "2023-05-09T12:41:46+0100", "+51.5334-000.1255/", "Knee"]
    listed = b"".join(box(b"mdta", key.encode()) for key in keys)
    items = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + value.encode()))
        for number, value in enumerate(values, 1)
    )
    meta = box(b"hdlr", bytes(24)) + box(b"keys", struct.pack(">II", 0, len(keys)) + listed) + box(b"ilst", items)
    facts = probe(with_movie_box(plain(tmp_path), box(b"meta", meta)))
    assert facts.device == "Apple iPhone 14"
    assert facts.created_at == datetime(2023, 5, 9, 12, 41, 46, tzinfo=timezone(timedelta(hours=1)))
    assert facts.texts == {"com.apple.quicktime.title": "Knee"}
    assert names(facts) == ["moov/meta"]


@pytest.mark.parametrize(
    ("moment", "known"),
    [
        (datetime(2026, 3, 2, 9, 30, tzinfo=UTC), True),
        (datetime(1970, 1, 1, tzinfo=UTC), False),
        (datetime(1970, 1, 1, 8, tzinfo=UTC), False),
        (datetime(2000, 1, 1, 0, 3, tzinfo=UTC), False),
        (EPOCH, False),
        (EPOCH + timedelta(hours=3), False),
    ],
)
def test_a_clock_that_was_never_set_gives_no_time(tmp_path, moment, known):
    seconds = int((moment - EPOCH).total_seconds())
    clip = rewrite(plain(tmp_path), b"mvhd", 4, struct.pack(">I", seconds))
    assert probe(clip).created_at == (moment if known else None)


def test_a_time_without_a_zone_is_no_moment(tmp_path):
    clip = draw_clip(tmp_path / "a.mkv", frames=5, metadata={"CREATION_TIME": "2016-05-31 17:01"})
    assert probe(clip).created_at is None


def test_texts_hold_no_control_characters_and_do_not_grow_without_end(tmp_path):
    clip = plain(tmp_path, metadata={"title": "A\x00B\x1b[31m" + "x" * 5000})
    (text,) = probe(with_movie_box(clip, b"")).texts.values()
    assert len(text) <= 1000
    assert text.isprintable()


def test_metadata_that_is_no_utf8_does_not_stop_a_recording(tmp_path):
    clip = draw_clip(tmp_path / "a.avi", frames=5, metadata={"title": "Mueller"})
    clip.write_bytes(clip.read_bytes().replace(b"Mueller", b"M\xfcller\0"))
    assert probe(clip).frames == 5
