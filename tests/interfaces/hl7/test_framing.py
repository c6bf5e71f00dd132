"""However the bytes are cut and whatever stands between the messages, the same messages come out, or none."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interfaces.hl7.framing import MOST_NOISE, Deframer, Noise, Payload, TooLarge, frame

A, B = b"MSH|^~\\&|A\rPID|1\r", b"MSH|^~\\&|B\rOBX|1|\xe4\r"


def take(*pieces, most=1000, end=False):
    deframer = Deframer(most)
    events = [event for piece in pieces for event in deframer.feed(piece)]
    return events + (deframer.finish() if end else [])


def payloads(events):
    return [event.data for event in events if isinstance(event, Payload)]


def noise(events):
    return [event.data for event in events if isinstance(event, Noise)]


@pytest.mark.parametrize(
    "stream",
    [
        frame(A) + frame(B),
        b"\r\n" + frame(A) + b"\r\r\n" + frame(B) + b"\r",
        b"\x0b" + A + b"\x1c" + frame(B),
        b"\x0b" + A + b"\x1c\n\x0b" + B + b"\x1c\r\n",
        b"\xef\xbb\xbf" + frame(A) + frame(B),
        b"\x0b" + frame(A) + frame(B),
    ],
    ids=["plain", "extra CR and LF", "FS without CR", "FS with LF", "BOM before VT", "VT twice"],
)
def test_messages_are_found_in_the_shapes_that_senders_send(stream):
    for size in (1, 2, 7, len(stream)):
        events = take(*(stream[at : at + size] for at in range(0, len(stream), size)))
        assert [data.lstrip(b"\x0b") for data in payloads(events)] == [A, B]
        assert noise(events) == []


def test_the_last_message_without_cr_waits_for_a_moment_and_is_then_whole():
    deframer = Deframer(1000)
    assert deframer.feed(b"\x0b" + A + b"\x1c") == []
    assert deframer.ends_perhaps
    assert deframer.settle() == [Payload(A)]
    assert deframer.feed(b"\r" + frame(B)) == [Payload(B)]


def test_an_fs_within_a_message_does_not_cut_it_in_two():
    stream = b"\x0bMSH|^~\\&|A\x1cB\rPID|1\r\x1c\r"
    for size in (1, len(stream)):
        events = take(*(stream[at : at + size] for at in range(0, len(stream), size)))
        assert payloads(events) == [b"MSH|^~\\&|A\x1cB\rPID|1\r"]


def test_text_before_the_start_block_is_set_aside_and_the_message_is_taken():
    events = take(b"HELLO" + frame(A))
    assert (noise(events), payloads(events)) == ([b"HELLO"], [A])


def test_a_new_start_in_an_unfinished_message_gives_up_the_unfinished_one():
    events = take(b"\x0bMSH|^~\\&|LOST\rPI" + frame(A))
    assert (noise(events), payloads(events)) == ([b"MSH|^~\\&|LOST\rPI"], [A])


def test_a_vertical_tab_in_a_text_is_part_of_it():
    text = b"MSH|^~\\&|A\rOBX|1|TX|||line\x0bline\r"
    assert payloads(take(frame(text))) == [text]


@pytest.mark.parametrize("data", [A + b"\x1c\r", b"GET / HTTP/1.1\r\n" * 400])
def test_bytes_without_a_start_block_end_the_conversation(data):
    events = take(data)
    assert isinstance(events[0], Noise)
    assert events[0].fatal
    assert len(data) < MOST_NOISE or payloads(events) == []


def test_an_unfinished_message_is_set_aside_when_the_connection_ends():
    assert noise(take(b"\x0bMSH|^~", end=True)) == [b"MSH|^~"]
    assert take(b"\r\n", end=True) == []
    assert take(end=True) == []


def test_a_message_of_the_greatest_size_is_taken_and_one_byte_more_is_not():
    assert payloads(take(frame(b"x" * 100), most=100)) == [b"x" * 100]
    assert take(frame(b"x" * 101), most=100) == [TooLarge(b"x" * 100)]


@pytest.mark.parametrize("size", [1, 64, 400])
def test_a_message_that_is_too_large_keeps_its_beginning_and_the_next_one_is_taken(size):
    stream = frame(b"y" * 300) + frame(A)
    events = take(*(stream[at : at + size] for at in range(0, len(stream), size)), most=100)
    assert events == [TooLarge(b"y" * 100), Payload(A)]


def test_endless_input_is_cut_off_in_bounded_memory():
    deframer = Deframer(1000)
    events = deframer.feed(b"\x0b")
    for _ in range(100):
        events += deframer.feed(b"z" * 1000)
        assert len(deframer._buffer) <= 2000
    assert isinstance(events[0], Noise)
    assert events[0].fatal
    assert events[0].data == b"z" * 1000


def test_a_large_message_that_ends_early_is_set_aside_with_its_beginning():
    assert noise(take(b"\x0b" + b"w" * 300, most=100, end=True)) == [b"w" * 100]


def test_a_big_message_in_small_pieces_is_not_searched_again_and_again():
    deframer = Deframer(64 * 1024 * 1024)
    deframer.feed(b"\x0b")
    for number in range(1, 2001):
        deframer.feed(b"x" * 500)
        assert deframer._searched == number * 500
    assert len(deframer.feed(b"\x1c\r")[0].data) == 1_000_000


def test_a_megabyte_that_comes_byte_by_byte_takes_seconds_not_hours():
    deframer = Deframer(64 * 1024 * 1024)
    started = time.perf_counter()
    for byte in b"\x0b" + b"x" * 1_000_000:
        deframer.feed(bytes((byte,)))
    assert time.perf_counter() - started < 10


_PIECES = st.sampled_from(
    [b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|^~\\&|", b"\xef\xbb\xbf", b"x", b"PID|", b"\x1c\r", b"\x00"]
)


@given(st.lists(_PIECES, max_size=40), st.lists(st.integers(0, 120), max_size=8))
def test_how_the_stream_is_cut_makes_no_difference(pieces, cuts):
    stream = b"".join(pieces)
    places = [0, *sorted({min(cut, len(stream)) for cut in cuts}), len(stream)]
    cut = take(*(stream[a:b] for a, b in pairwise(places)), most=60, end=True)
    assert payloads(cut) == payloads(take(stream, most=60, end=True))


@given(st.lists(st.binary(min_size=1, max_size=50).filter(lambda b: not set(b) & {0x0B, 0x1C}), max_size=6))
def test_what_was_framed_comes_out_again(messages):
    assert payloads(take(b"".join(map(frame, messages)))) == messages
