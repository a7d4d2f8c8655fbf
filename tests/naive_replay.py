"""The slow twin of qfp.antireplay: sets, lists and the words of the RFCs; also of its reading of packets.

A packet is (number field, DSCP). Verdicts are words: accepted, late, duplicate, zero.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from naive_dissect import locate

Packet = tuple[int, int]
HALF = 1 << 32


# -------------------------------------------------------------------------------------------------- numbers
def nearest(fields: Iterable[int]) -> list[int]:
    """64-bit numbers: each the one nearest to the highest before it; the first lies in the second turn of 2^32."""
    out: list[int] = []
    top = None
    for low in fields:
        if top is None:
            top = HALF + low
        turns = (top // HALF - 1, top // HALF, top // HALF + 1)
        number = min((turn * HALF + low for turn in turns), key=lambda n: (abs(n - top), n))
        out.append(number)
        top = max(top, number)
    return out


def seen_before(numbers: Iterable[Any]) -> list[bool]:
    known: set[Any] = set()
    out = []
    for number in numbers:
        out.append(number in known)
        known.add(number)
    return out


def first_class(numbers: Sequence[int], kinds: Sequence[int]) -> list[int]:
    """A copy belongs to the class of the first of its number."""
    known: dict[int, int] = {}
    return [known.setdefault(number, kind) for number, kind in zip(numbers, kinds, strict=True)]


def ranks(numbers: Sequence[int], spaces: Sequence[int]) -> list[int]:
    """1 + different smaller numbers in the same space."""
    held: dict[int, set[int]] = {}
    for number, space in zip(numbers, spaces, strict=True):
        held.setdefault(space, set()).add(number)
    place = {space: {n: k for k, n in enumerate(sorted(each), 1)} for space, each in held.items()}
    return [place[space][number] for number, space in zip(numbers, spaces, strict=True)]


def numbered(packets: Sequence[Packet], scheme: str, selector: tuple[int, str] = (4, "msb")) -> list[tuple[int, int]]:
    """(space, number) of each packet under a scheme."""
    fields = [field for field, _ in packets]
    if scheme == "plain":
        return [(0, field) for field in fields]
    if scheme == "selector":
        bits, where = selector
        if where == "msb":
            return [(field // 2 ** (32 - bits), field % 2 ** (32 - bits)) for field in fields]
        return [(field % 2**bits, field // 2**bits) for field in fields]
    full = nearest(fields)
    if scheme == "esn":
        return [(0, number) for number in full]
    kinds = first_class(full, [dscp for _, dscp in packets])
    index = {kind: k for k, kind in enumerate(sorted(set(kinds)))}
    spaces = [index[kind] % (16 if scheme == "sns" else 64) for kind in kinds]
    return list(zip(spaces, ranks(full, spaces), strict=True))


# -------------------------------------------------------------------------------------------------- windows
def infer(top: int, low: int, window: int) -> int:
    """RFC 4303 appendix A2.2, in its words: Tl, Th: halves of the top; Seql, Seqh: of the packet."""
    tl, th, w, seql = top % HALF, top // HALF, window, low
    if tl >= w - 1:  # case A: the window is in one subspace
        seqh = th if seql >= tl - w + 1 else th + 1
    else:  # case B: it spans two
        seqh = th - 1 if seql >= (tl - w + 1) % HALF else th
    return seqh * HALF + seql


class Window:
    """The highest number and a set. `start`: the top before the first packet."""

    def __init__(self, size: int, start: int = 0):
        self.size, self.top = size, start
        self.seen: set[int] = set()

    def takes(self, number: int, esn: bool) -> bool:
        if esn and infer(self.top, number % HALF, self.size) != number:
            return False  # authenticated with another number: the ICV is wrong
        if number == 0 or number <= self.top - self.size or number in self.seen:
            return False
        self.seen.add(number)
        self.top = max(self.top, number)
        return True


def verdicts(packets: Sequence[Packet], scheme: str, window: int, selector: tuple[int, str] = (4, "msb")) -> list[str]:
    """The verdict of every packet."""
    places = numbered(packets, scheme, selector)
    copies = seen_before(places)
    held: dict[int, Window] = {}
    out = []
    for (space, number), copy in zip(places, copies, strict=True):
        esn = scheme == "esn"
        receiver = held.setdefault(space, Window(window, number - 1 if esn else 0))
        if receiver.takes(number, esn):
            assert not copy
            out.append("accepted")
        elif number == 0 and not esn:
            out.append("zero")
        else:
            out.append("duplicate" if copy else "late")
    return out


# ------------------------------------------------------------------------------------------------- RFC 4737
def reordering(numbers: Sequence[int], times: Sequence[int]) -> list[dict[str, int]]:
    """Of every reordered packet of one space without copies, by the definitions, each looked for anew."""
    out = []
    for i, s in enumerate(numbers):
        larger = [j for j in range(i) if numbers[j] > s]
        if not larger:
            continue
        j = min(larger)
        n = 0
        while n < i and numbers[i - 1 - n] > s:
            n += 1
        age = max(numbers[:i]) - s
        out.append({"at": i, "age": age, "extent": i - j, "delay": max(0, times[i] - times[j]), "n": n})
    return out


def loss_free(packets: Sequence[Packet], scheme: str) -> int:
    """The smallest window without a late packet, by trying all."""
    window = 1
    while "late" in verdicts(packets, scheme, window):
        window += 1
    return window


# -------------------------------------------------------------------------------------------------- packets
def observed(frame: bytes, whole: int) -> list[tuple[str, str, int, int, int, int]] | str:
    """As `outermost`, or what a tunnel in the packet carries."""
    told, found = outermost(frame, whole), locate(101, frame)
    if told != "other" or not found.found or found.at == 0:
        return told
    size = found.size + (whole - len(frame) if found.at + found.size == len(frame) else 0)
    return outermost(frame[found.at : found.at + found.size], size)


def outermost(frame: bytes, whole: int) -> list[tuple[str, str, int, int, int, int]] | str:
    """(protocol, destination, SPI, number, length, TOS) of the ESP and AH headers of a raw IP packet of which only
    `frame` was captured; or other, short, later."""
    version = frame[0] >> 4 if frame else 0
    if version == 4:
        if len(frame) < 20:
            return "short"
        k, size, proto, tos = 4 * (frame[0] & 15), int.from_bytes(frame[2:4]), frame[9], frame[1]
        dst = str(ip_address(frame[16:20]))
        if k < 20 or 0 < size < k:
            return "other"
        size = size or min(whole, 65535)
        if int.from_bytes(frame[6:8]) & 0x1FFF:
            return "later" if proto in (50, 51, 17) else "other"
    elif version == 6:
        if len(frame) < 40:
            return "short"
        k, size, proto, tos = 40, 40 + int.from_bytes(frame[4:6]), frame[6], int.from_bytes(frame[:2]) >> 4 & 255
        dst = str(ip_address(frame[24:40]))
        if size == 40 and whole > 50:
            size = min(whole, 65575)
        for _ in range(8):
            if proto not in (0, 43, 44, 60, 135):
                break
            if k + 8 > len(frame):
                return "short"
            later = proto == 44 and int.from_bytes(frame[k + 2 : k + 4]) & 0xFFF8
            step = 8 if proto == 44 else 8 * (1 + frame[k + 1])
            proto = frame[k]
            if later:
                return "later" if proto in (50, 51, 17) else "other"
            k += step
    else:
        return "other"
    if proto == 17:
        ports = frame[k : k + 4]
        if len(ports) < 4 or 4500 not in (int.from_bytes(ports[:2]), int.from_bytes(ports[2:])):
            return "other"
        if k + 8 > len(frame):
            return "short"
        if int.from_bytes(frame[k + 4 : k + 6]) < 16:
            return "other"
        proto, k = 50, k + 8
    out: list[tuple[str, str, int, int, int, int]] = []
    while proto in (50, 51) and len(out) < 4:
        need = 8 if proto == 50 else 12
        head = frame[k : k + need]
        if k + need > size:
            return out or "other"
        if len(head) < need:
            return out or "short"
        spi, number = int.from_bytes(head[need - 8 : need - 4]), int.from_bytes(head[need - 4 :])
        if spi == 0:
            return out or "other"
        out.append(("esp" if proto == 50 else "ah", dst, spi, number, size, tos))
        if proto == 50:
            break
        proto, k = head[0], k + 4 * (head[1] + 2)
    return out or "other"
