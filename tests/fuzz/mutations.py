"""Random mutations of a file."""

from collections.abc import Callable

from hypothesis import strategies as st

Mutation = Callable[[bytes], bytes]


def _flip(offset: int, bit: int) -> Mutation:
    def mutate(content: bytes) -> bytes:
        mutated = bytearray(content)
        if mutated:
            mutated[offset % len(mutated)] ^= 1 << bit
        return bytes(mutated)

    return mutate


def _replace(offset: int, length: int, by: bytes) -> Mutation:
    def mutate(content: bytes) -> bytes:
        start = offset % (len(content) + 1)
        return content[:start] + by + content[start + length :]

    return mutate


def _repeat(offset: int, length: int, times: int) -> Mutation:
    def mutate(content: bytes) -> bytes:
        start = offset % (len(content) + 1)
        return content[:start] + content[start : start + length] * times + content[start + length :]

    return mutate


OFFSETS, LENGTHS = st.integers(0, 2**16), st.integers(0, 64)
EXTREMES = st.sampled_from(
    [b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b'"', b"\n", b"[" * 99]
)
MUTATIONS = st.one_of(
    st.builds(_flip, OFFSETS, st.integers(0, 7)),
    st.builds(_replace, OFFSETS, LENGTHS, st.one_of(EXTREMES, st.binary(max_size=16))),
    st.builds(_replace, OFFSETS, st.just(2**16), st.just(b"")),
    st.builds(_repeat, OFFSETS, LENGTHS, st.integers(0, 50)),
)
