"""Ways in which files come to harm."""

from collections.abc import Callable

from hypothesis import strategies as st

Change = Callable[[bytes], bytes]


def _flip(place: int, bit: int) -> Change:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        if changed:
            changed[place % len(changed)] ^= 1 << bit
        return bytes(changed)

    return change


def _replace(place: int, length: int, by: bytes) -> Change:
    def change(content: bytes) -> bytes:
        start = place % (len(content) + 1)
        return content[:start] + by + content[start + length :]

    return change


def _repeat(place: int, length: int, times: int) -> Change:
    def change(content: bytes) -> bytes:
        start = place % (len(content) + 1)
        return content[:start] + content[start : start + length] * times + content[start + length :]

    return change


PLACES, LENGTHS = st.integers(0, 2**16), st.integers(0, 64)
EXTREMES = st.sampled_from(
    [b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b'"', b"\n", b"[" * 99]
)
CHANGES = st.one_of(
    st.builds(_flip, PLACES, st.integers(0, 7)),
    st.builds(_replace, PLACES, LENGTHS, st.one_of(EXTREMES, st.binary(max_size=16))),
    st.builds(_replace, PLACES, st.just(2**16), st.just(b"")),
    st.builds(_repeat, PLACES, LENGTHS, st.integers(0, 50)),
)
