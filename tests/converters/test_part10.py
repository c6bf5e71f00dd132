from __future__ import annotations

import os

import av
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from converters import part10
from converters.part10 import MAX_ITEM, StreamReader, item_lengths, read, write
from models.errors import ConversionFailed, VerificationFailed
from models.study import TransferSyntax
from tests.converters.jobs import judge, make_clip


def header(size, syntax=TransferSyntax.H264_HIGH_41):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.1.1")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    dataset.SOPInstanceUID = "2.25.1"
    dataset.EncapsulatedPixelDataValueTotalLength = size
    return dataset


def stream_of(path):
    with StreamReader(path, read(path).spans) as reader:
        return reader.read()


@pytest.mark.parametrize("size", [1, 2, 999, 1000])
def test_the_stream_comes_back_byte_for_byte_whatever_its_length(tmp_path, size):
    data = os.urandom(size)
    write(tmp_path / "a.dcm", header(size), [data], size)
    found = read(tmp_path / "a.dcm")
    assert stream_of(tmp_path / "a.dcm") == data
    assert found.length == size
    assert found.padding == b"\0" * (size % 2)
    assert found.offset_table == 0


def test_a_stream_that_ends_with_zeros_keeps_them(tmp_path):
    write(tmp_path / "a.dcm", header(5), [b"ab\0\0\0"], 5)
    assert stream_of(tmp_path / "a.dcm") == b"ab\0\0\0"


def test_chunks_of_any_size_make_one_item(tmp_path):
    data = os.urandom(10_001)
    write(tmp_path / "a.dcm", header(len(data)), [data[at : at + 777] for at in range(0, len(data), 777)], len(data))
    assert len(read(tmp_path / "a.dcm").spans) == 1
    assert stream_of(tmp_path / "a.dcm") == data


def test_pydicom_and_dcmtk_read_the_file(tmp_path):
    path = tmp_path / "a.dcm"
    write(path, header(3), [b"abc"], 3)
    assert dcmread(path).PixelData.count(b"abc") == 1
    assert judge("dcmftest", "dcmtk", path).stdout.startswith("yes")
    dump = judge("dcmdump", "dcmtk", path)
    assert dump.returncode == 0
    assert "61\\62\\63\\00" in dump.stdout


def test_more_than_one_item_can_hold_fails_in_words():
    with pytest.raises(ConversionFailed, match="cut the recording into parts below 4 GiB"):
        item_lengths(MAX_ITEM + 1, TransferSyntax.H264_HIGH_41)
    assert item_lengths(MAX_ITEM, TransferSyntax.H264_HIGH_41) == (MAX_ITEM,)


def test_hevc_continues_in_a_second_item():
    assert item_lengths(MAX_ITEM + 7, TransferSyntax.HEVC_MAIN_51) == (MAX_ITEM, 7)
    assert sum(item_lengths(20 << 30, TransferSyntax.HEVC_MAIN_51)) == 20 << 30


def test_a_stream_in_several_items_is_read_as_one_and_ffmpeg_can_open_it(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mp4")
    size = clip.stat().st_size
    monkeypatch.setattr(part10.item_lengths, "__kwdefaults__", {"largest": 1000})
    write(tmp_path / "a.dcm", header(size, TransferSyntax.HEVC_MAIN_51), [clip.read_bytes()], size)
    found = read(tmp_path / "a.dcm")
    assert len(found.spans) == -(-size // 1000)
    assert stream_of(tmp_path / "a.dcm") == clip.read_bytes()
    reader = StreamReader(tmp_path / "a.dcm", found.spans)
    with reader, av.open(reader, "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 30


def test_a_source_that_grows_or_shrinks_while_it_is_read_fails(tmp_path):
    for number, chunks in enumerate(([b"1234"], [b"12345678"])):
        with pytest.raises(ConversionFailed, match="it changed while it was read"):
            write(tmp_path / f"{number}.dcm", header(6), chunks, 6)


def test_an_existing_file_is_never_overwritten(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"someone else's")
    with pytest.raises(FileExistsError):
        write(tmp_path / "a.dcm", header(2), [b"ab"], 2)
    assert (tmp_path / "a.dcm").read_bytes() == b"someone else's"


def test_a_file_cut_short_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "a.dcm"
    write(path, header(1000), [os.urandom(1000)], 1000)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(VerificationFailed, match="cut short"):
        read(path)


def test_what_is_no_dicom_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "a.dcm").write_text("hello " * 100)
    with pytest.raises(VerificationFailed, match="no DICOM Part 10 file"):
        read(tmp_path / "a.dcm")
