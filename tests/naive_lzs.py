"""The slow twin of the LZS kernels: strings of "0" and "1", a brute-force matcher, the obvious decoder.

A token is a byte value (a literal) or a pair (offset, length).
"""

from collections.abc import Iterable, Sequence

Token = int | tuple[int, int]
REACH = 2047
END = "110000000"
LENGTH_CODES = {2: "00", 3: "01", 4: "10", 5: "1100", 6: "1101", 7: "1110"}


def length_code(length: int) -> str:
    """The bits of a length."""
    if length in LENGTH_CODES:
        return LENGTH_CODES[length]
    ones, last = divmod(length - 8, 15)
    return "1111" * (1 + ones) + f"{last:04b}"


def token_code(token: Token) -> str:
    """The bits of a literal or of a match, offsets in their short form."""
    if isinstance(token, int):
        return "0" + f"{token:08b}"
    offset, length = token
    return ("11" + f"{offset:07b}" if offset < 128 else "10" + f"{offset:011b}") + length_code(length)


def pack(bits: str) -> bytes:
    """Bits as bytes, the first bit the most significant one, zero bits up to a byte."""
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))


def unpack(stream: bytes) -> str:
    """Bytes as bits."""
    return "".join(f"{byte:08b}" for byte in stream)


def encode(tokens: Iterable[Token]) -> bytes:
    """A whole stream, with its end marker."""
    return pack("".join(map(token_code, tokens)) + END)


def longest(data: bytes, i: int) -> tuple[int, int]:
    """(offset, length) of the longest match at position i, the nearest of those; length 0 without one."""
    best = (0, 0)
    for offset in range(1, min(i, REACH) + 1):
        length = 0
        while i + length < len(data) and data[i + length] == data[i + length - offset]:
            length += 1
        if length > best[1]:
            best = (offset, length)
    return best


def parse(data: bytes) -> list[Token]:
    """Data as tokens: at every position the longest match."""
    tokens: list[Token] = []
    i = 0
    while i < len(data):
        offset, length = longest(data, i)
        tokens.append((offset, length) if length >= 2 else data[i])
        i += max(length if length >= 2 else 1, 1)
    return tokens


def compress(data: bytes) -> bytes:
    """The stream of some data."""
    return encode(parse(data))


class Damaged(Exception):
    """The stream is not one that a compressor makes."""


class Bits:
    """A string of bits, taken from the front."""

    def __init__(self, bits: str):
        self.bits, self.at = bits, 0

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        if self.at + count > len(self.bits):
            raise Damaged("the end marker is missing")
        self.at += count
        return int(self.bits[self.at - count : self.at], 2)


def read_length(bits: Bits) -> int:
    """The length of a match."""
    code = ""
    while code not in LENGTH_CODES.values():
        code += str(bits.take(1))
        if code == "1111":
            length, nibble = 8, 15
            while nibble == 15:
                nibble = bits.take(4)
                length += nibble
            return length
    return next(length for length, c in LENGTH_CODES.items() if c == code)


def tokens_of(stream: bytes | str) -> list[Token]:
    """The tokens of a stream (bytes, or a string of bits) before its end marker; raises Damaged without one."""
    bits = Bits(stream if isinstance(stream, str) else unpack(stream))
    tokens: list[Token] = []
    while True:
        if bits.take(1) == 0:
            tokens.append(bits.take(8))
            continue
        near = bits.take(1) == 1
        offset = bits.take(7 if near else 11)
        if near and offset == 0:
            return tokens
        tokens.append((offset, read_length(bits)))


def expand_tokens(tokens: Sequence[Token]) -> bytes:
    """What tokens stand for; raises Damaged for an offset to before the start."""
    out = bytearray()
    for token in tokens:
        if isinstance(token, int):
            out.append(token)
            continue
        offset, length = token
        if not 1 <= offset <= len(out):
            raise Damaged(f"offset {offset} behind {len(out)} bytes")
        for _ in range(length):
            out.append(out[-offset])
    return bytes(out)


def expand(stream: bytes | str, room: int) -> bytes | None:
    """The data of a stream; None where it is damaged or longer than `room` bytes."""
    try:
        tokens = tokens_of(stream)
        if sum(1 if isinstance(token, int) else token[1] for token in tokens) > room:
            return None
        return expand_tokens(tokens)
    except Damaged:
        return None
