from __future__ import annotations

import os
import struct

import av
import pytest

from converters import payload
from converters.payload import Digests, chunks, hash_file
from models.errors import ConversionFailed
from models.recording import PrivateBox
from tests.converters.jobs import make_clip, sha256


@pytest.fixture
def clip(tmp_path):
    """A clip with a title and a place in moov/udta, and the box that holds them."""
    plain = make_clip(tmp_path / "plain.mp4", container_options={"movflags": "+faststart"})
    data = plain.read_bytes()
    secret = struct.pack(">I4s", 8 + 40, b"udta") + b"MUSTER^ERIKA +47.3769+008.5417/ ".ljust(40, b".")
    at = data.find(b"mdat") - 4
    moov = data.find(b"moov") - 4
    length = struct.unpack_from(">I", data, moov)[0]
    # A udta box at the end of moov moves the media: the chunk offsets move with it.
    head = bytearray(data[:at] if moov + length == at else data[: moov + length])
    struct.pack_into(">I", head, moov, length + len(secret))
    stco = head.find(b"stco")
    for entry in range(struct.unpack_from(">I", head, stco + 8)[0]):
        place = stco + 12 + 4 * entry
        struct.pack_into(">I", head, place, struct.unpack_from(">I", head, place)[0] + len(secret))
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(head) + secret + data[moov + length :])
    return path, PrivateBox(offset=moov + length, size=len(secret), header=8, name="moov/udta")


def blanked(path, *boxes):
    digests = Digests()
    return b"".join(chunks(path, boxes, digests)), digests


def test_without_private_boxes_the_bytes_are_the_files(clip):
    data, digests = blanked(clip[0])
    assert data == clip[0].read_bytes()
    assert digests.source == digests.stream == sha256(clip[0])


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_a_private_box_becomes_free_and_empty_wherever_the_chunks_are_cut(clip, monkeypatch, size):
    path, box = clip
    monkeypatch.setattr(payload, "CHUNK", size)
    data, digests = blanked(path, box)
    before = path.read_bytes()
    assert b"MUSTER" in before
    assert len(data) == len(before)
    assert data[box.offset : box.offset + box.size] == struct.pack(">I4s", box.size, b"free") + bytes(box.size - 8)
    assert data[: box.offset] == before[: box.offset]
    assert data[box.offset + box.size :] == before[box.offset + box.size :]
    assert digests.source == sha256(path) != digests.stream


def test_the_blanked_file_still_plays_with_the_same_coded_pictures(clip, tmp_path):
    path, box = clip
    (tmp_path / "blank.mp4").write_bytes(blanked(path, box)[0])
    with av.open(str(path)) as old, av.open(str(tmp_path / "blank.mp4")) as new:
        before = [bytes(packet) for packet in old.demux(video=0)]
        assert [bytes(packet) for packet in new.demux(video=0)] == before
        assert len(before) > 30


def test_a_box_within_a_box_leaves_nothing_but_zeros(clip):
    path, box = clip
    inner = PrivateBox(offset=box.offset, size=box.size - 8, header=8, name="udta")
    data, _ = blanked(path, box, inner)
    assert data[box.offset + 8 : box.offset + box.size] == bytes(box.size - 8)


@pytest.mark.parametrize("change", [{"offset": 4}, {"size": 1 << 40}, {"header": 4}, {"name": "moov/meta"}])
def test_a_box_that_is_not_where_the_plan_says_is_never_blanked(clip, change):
    path, box = clip
    with pytest.raises(ConversionFailed, match="probe the recording again"):
        blanked(path, box.model_copy(update=change))


def test_the_picture_data_is_never_blanked(clip):
    path, _ = clip
    at = path.read_bytes().find(b"mdat") - 4
    with pytest.raises(ConversionFailed, match="no box mdat"):
        blanked(path, PrivateBox(offset=at, size=100, header=8, name="mdat"))


def test_a_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ConversionFailed, match="no regular file"):
        hash_file(tmp_path / "pipe.mp4")


def test_a_link_is_refused(clip, tmp_path):
    (tmp_path / "link.mp4").symlink_to(clip[0])
    with pytest.raises(ConversionFailed, match="cannot be opened"):
        hash_file(tmp_path / "link.mp4")
