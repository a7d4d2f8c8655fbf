"""study: what replay windows would have done with numbers that were observed, and how far these are out of order.

Numbers come in arrival order, one *space* (a sequence-number space of an SA) behind the other: space s is rows
starts[s] .. starts[s + 1] - 1. In travel order:
1. `unroll`: 64-bit numbers from the 32 bits in the packets
2. `mark`, `follow`, `rank`: which numbers came before; classes of copies; numbers within a class
3. `windows`: the receiver, with the windows of `replay.py`, for every size
4. `fresh_only`, `count_late`, `reorder`, `runs`: RFC 4737
`tally` and `group` sort rows by a small key: by SA, by space.

All arrays are checked by `qfp.antireplay`, the only caller; nothing here is checked again.
"""

import numpy as np

from qfp_kernels.jit import inlined, kernel, outlined
from qfp_kernels.replay import M32, U0, U1, U6, U63, accept, infer, refused

ORIGIN = np.uint64(1 << 32)  # what `unroll` adds to the first number: those before it stay above zero
FRESH, AGAIN, ZERO = 0, 1, 2  # of a number: the first of its kind, a copy of one before, zero (which no sender uses)
ACCEPTED, LATE = 0, 1  # verdicts; 1 + AGAIN and 1 + ZERO are the others
HALF = np.int64(1 << 31)


# ---------------------------------------------------------------------------------------------------- numbers
@kernel
def unroll(seq, full):
    """full[k]: of all 64-bit numbers that end in seq[k], the one nearest to the highest before (2^31 away: below)."""
    if seq.size == 0:
        return
    top = ORIGIN + np.uint64(seq[0])
    for k in range(seq.size):
        ahead = np.int64((np.uint64(seq[k]) - top) & M32)
        number = np.uint64(np.int64(top) + (ahead - 2 * HALF if ahead >= HALF else ahead))
        full[k] = number
        top = max(top, number)


@kernel
def mark(keys, least, bits, state):
    """state[k] = AGAIN where keys[k] came before. `bits`: zeroed, a bit for every key from `least` on."""
    for k in range(keys.size):
        at = np.uint64(keys[k]) - least
        word, bit = np.int64(at >> U6), U1 << (at & U63)
        if bits[word] & bit != U0:
            state[k] = AGAIN
        bits[word] |= bit


@kernel
def follow(full, state, copied, owner, classes):
    """Give copies the class of their first. copied: sorted numbers that came more than once; owner: one slot each."""
    for k in range(full.size):
        low, high = 0, copied.size
        while low < high:
            middle = (low + high) >> 1
            if copied[middle] < full[k]:
                low = middle + 1
            else:
                high = middle
        if low < copied.size and copied[low] == full[k]:
            if state[k] == AGAIN:
                classes[k] = owner[low]
            else:
                owner[low] = classes[k]


@inlined
def _ones(x):
    """Bits that are set."""
    x -= (x >> U1) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def rank(starts, keys, bits, before, out):
    """out[k]: how many different keys of the space are not larger than keys[k].

    bits, before: a word for every 64 keys between the smallest and the largest of a space, and one more.
    """
    for s in range(starts.size - 1):
        first, end = starts[s], starts[s + 1]
        if first == end:
            continue
        least, most = keys[first], keys[first]
        for k in range(first, end):
            least, most = min(least, keys[k]), max(most, keys[k])
        words = np.int64((most - least) >> U6) + 1
        for w in range(words):
            bits[w] = U0
        for k in range(first, end):
            at = keys[k] - least
            bits[np.int64(at >> U6)] |= U1 << (at & U63)
        total = U0
        for w in range(words):
            before[w] = total
            total += _ones(bits[w])
        for k in range(first, end):
            at = keys[k] - least
            w = np.int64(at >> U6)
            out[k] = before[w] + _ones(bits[w] & (~U0 >> (U63 - (at & U63))))


# ---------------------------------------------------------------------------------------------------- windows
@outlined
def _fresh_window(t, size, top):
    """An empty window of `size` numbers below `top` in row 0."""
    ring = np.int64(64)
    while ring < size:
        ring *= 2
    for w in range(ring >> 6):
        t.win[w] = U0
    t.sa_in[0].top = top
    t.sa_in[0].window = np.uint32(size)
    t.sa_in[0].win_at = np.uint32(0)
    t.sa_in[0].ring = np.uint32(ring)


@inlined
def _passes(t, esn, number):
    """Whether the receiver takes a genuine packet with this number, whose low half travels if `esn`."""
    sa = t.sa_in[0]
    # ESN: a wrong guess of the high half is a wrong ICV, so the packet is lost and the window stays
    if esn and infer(sa, number & M32) != number:
        return False
    if refused(t, sa, number):
        return False
    accept(t, sa, number)
    return True


@kernel
def windows(t, starts, numbers, state, sizes, esn, late, verdicts):
    """Every size of window over every space; returns how many copies were taken (none: a check).

    late[w, s]: packets of space s that window w refuses though their numbers never came before. verdicts[w, k]: of
    packet k; no rows = not wanted.
    """
    wrong = 0
    kept = verdicts.size > 0
    for w in range(sizes.size):
        for s in range(starts.size - 1):
            first, end = starts[s], starts[s + 1]
            _fresh_window(t, sizes[w], numbers[first] - U1 if esn and first < end else U0)
            lost = 0
            for k in range(first, end):
                taken = _passes(t, esn, numbers[k])
                again = state[k]
                lost += not taken and again == FRESH
                wrong += taken and again != FRESH
                if kept:
                    verdicts[w, k] = ACCEPTED if taken else LATE + again
            late[w, s] = lost
    return wrong


# ------------------------------------------------------------------------------------------------- reordering
@kernel
def fresh_only(starts, numbers, state, ts, kept_starts, kept_numbers, kept_ts):
    """The packets whose number never came before; the arrays kept_* are as long as they need to be."""
    kept = 0
    for s in range(starts.size - 1):
        kept_starts[s] = kept
        for k in range(starts[s], starts[s + 1]):
            if state[k] == FRESH:
                kept_numbers[kept] = numbers[k]
                kept_ts[kept] = ts[k]
                kept += 1
    kept_starts[starts.size - 1] = kept


@kernel
def count_late(starts, numbers):
    """How many numbers are smaller than one before them in their space."""
    count = 0
    for s in range(starts.size - 1):
        top = U0
        for k in range(starts[s], starts[s + 1]):
            count += numbers[k] < top
            top = max(top, numbers[k])
    return count


@kernel
def reorder(starts, numbers, ts, records, stack, at, age, extent, delay, n_late):
    """Of every late packet, copies left out: row, age, and the metrics of RFC 4737.

    age: highest number before it less its own (a window of age + 1 holds it). extent (section 4.2.1): rows since the
    first larger number; delay (4.3): ns since that; n_late (5.4): rows just before it that all have larger numbers.
    records, stack: scratch, uint32, as long as `numbers`.
    """
    found = 0
    for s in range(starts.size - 1):
        first = starts[s]
        n_records, depth = 0, 0
        for k in range(first, starts[s + 1]):
            number = numbers[k]
            top = numbers[records[n_records - 1]] if n_records > 0 else U0
            while depth > 0 and numbers[stack[depth - 1]] > number:
                depth -= 1
            if n_records == 0 or number > top:
                records[n_records] = np.uint32(k)
                n_records += 1
            else:
                low, high = 0, n_records - 1  # the first record that is larger
                while low < high:
                    middle = (low + high) >> 1
                    if numbers[records[middle]] > number:
                        high = middle
                    else:
                        low = middle + 1
                j = np.int64(records[low])
                at[found] = k
                age[found] = np.int64(top - number)
                extent[found] = k - j
                delay[found] = max(ts[k] - ts[j], 0)
                n_late[found] = k - 1 - (np.int64(stack[depth - 1]) if depth > 0 else first - 1)
                found += 1
            stack[depth] = np.uint32(k)
            depth += 1
    return found


@kernel
def runs(at):
    """Put the lengths of the runs of neighbouring rows in `at`, ascending, in their place; returns their number."""
    found, length = 0, 0
    for k in range(at.size):
        row = at[k]
        length += 1
        if k + 1 == at.size or at[k + 1] != row + 1:
            at[found] = length
            found, length = found + 1, 0
    return found


# --------------------------------------------------------------------------------------------------- grouping
@kernel
def tally(keys, counts):
    """counts[k]: how many keys are k; zeroed before."""
    for k in range(keys.size):
        counts[keys[k]] += 1


@kernel
def group(keys, ends, order):
    """order: rows by key, those of one key as they come. ends: where the rows of each key begin; moved to their end."""
    for k in range(keys.size):
        at = ends[keys[k]]
        order[at] = k
        ends[keys[k]] = at + 1
