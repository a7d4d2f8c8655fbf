"""crowd: the study of many SAs at once, each of few packets: what `study` finds, without its reports of one SA.

Rows lie SA by SA, in each in order of arrival: SA s is rows starts[s] .. starts[s + 1] - 1. A row's *key* is its space,
above bit SPACE_BIT, and its number in it. In travel order:
1. `unrolled`: 64-bit numbers from the 32 bits in the packets
2. `arrange`: the rows of each SA by key; `copies`: which came before; `follow`: copies are of the class of their first
3. `place`: the class of a row, counted among those that its SA carries, as its space
4. `rank`: numbers within a space in place of those that travelled
5. `spread`: spaces, copies, zeros and gaps; `ages`: how late packets are and which windows lose them

A receiver with window W refuses a number that never came before just if it is W or more below the highest before it
(RFC 4303 section 3.4.3), whichever window that is: one pass gives the ages, and these every window. `study` runs the
receiver itself; the tests compare the two.

All arrays are checked by `qfp.antireplay`, the only caller; nothing here is checked again.
"""

import numpy as np

from qfp_kernels.jit import kernel, outlined
from qfp_kernels.replay import U0
from qfp_kernels.study import ACCEPTED, AGAIN, FRESH, LATE, ZERO, unroll

SPACE_BIT = np.uint64(56)  # numbers of SAs with fewer than 2^24 packets stay below: `unroll` moves by 2^31 at most
NUMBER = np.uint64((1 << 56) - 1)
SPACES_MAX = 256  # a selector has 8 bits at most
CLASSES = 64  # a class has at least one of the 64 DSCPs
RUN = 16  # rows that are sorted by insertion before they are merged
(F_SPACES, F_DUPLICATES, F_ZEROS, F_GAPS, F_AGE, F_LATE) = range(6)  # figures of an SA; F_AGE: the largest
F_N = 6


# ---------------------------------------------------------------------------------------------------- numbers
@kernel
def unrolled(starts, seq, keys):
    """64-bit numbers of every SA."""
    for s in range(starts.size - 1):
        unroll(seq[starts[s] : starts[s + 1]], keys[starts[s] : starts[s + 1]])


@outlined
def _insert(keys, order, first, end):
    """Sort a short run."""
    for k in range(first + 1, end):
        row = order[k]
        j = k
        while j > first and keys[order[j - 1]] > keys[row]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = row


@outlined
def _merge(keys, order, spare, first, middle, end):
    """Merge two sorted runs that lie side by side; of equal keys the first run's come first."""
    for k in range(first, middle):
        spare[k] = order[k]
    a, b = first, middle
    for k in range(first, end):
        if a == middle:
            return
        if b == end or keys[spare[a]] <= keys[order[b]]:
            order[k] = spare[a]
            a += 1
        else:
            order[k] = order[b]
            b += 1


@kernel
def arrange(starts, keys, order, spare):
    """order: the rows of each SA by key, those of one key as they came. spare: scratch of its length."""
    for s in range(starts.size - 1):
        first, end = starts[s], starts[s + 1]
        for k in range(first, end):
            order[k] = k
        for a in range(first, end, RUN):
            _insert(keys, order, a, min(a + RUN, end))
        size = RUN
        while size < end - first:
            for a in range(first, end - size, 2 * size):
                if keys[order[a + size - 1]] > keys[order[a + size]]:
                    _merge(keys, order, spare, a, a + size, min(a + 2 * size, end))
            size *= 2


@kernel
def copies(starts, keys, order, state):
    """state: FRESH for the first of its key in its SA, else AGAIN."""
    for s in range(starts.size - 1):
        for k in range(starts[s], starts[s + 1]):
            again = k > starts[s] and keys[order[k]] == keys[order[k - 1]]
            state[order[k]] = AGAIN if again else FRESH


@kernel
def follow(starts, order, state, kind):
    """kind: classes; those of copies become that of the first of their number."""
    for s in range(starts.size - 1):
        for k in range(starts[s] + 1, starts[s + 1]):
            if state[order[k]] == AGAIN:
                kind[order[k]] = kind[order[k - 1]]


# ----------------------------------------------------------------------------------------------------- spaces
@kernel
def place(starts, kind, spaces, numbers, keys):
    """keys: numbers in spaces. The classes of an SA are counted from 0; class k is in space k mod `spaces`."""
    slots = np.zeros(CLASSES, np.int64)
    for s in range(starts.size - 1):
        slots[:] = -1
        for k in range(starts[s], starts[s + 1]):
            slots[kind[k]] = 0
        found = 0
        for c in range(CLASSES):
            if slots[c] == 0:
                slots[c] = found % spaces
                found += 1
        for k in range(starts[s], starts[s + 1]):
            keys[k] = np.uint64(slots[kind[k]]) << SPACE_BIT | numbers[k]


@kernel
def rank(starts, order, keys):
    """keys: for the number the rank: how many different numbers of the space are not larger."""
    for s in range(starts.size - 1):
        before, found = U0, U0
        for k in range(starts[s], starts[s + 1]):
            key = keys[order[k]]
            if k == starts[s] or key >> SPACE_BIT != before >> SPACE_BIT:
                found = np.uint64(1)
            elif key != before:
                found += np.uint64(1)
            before = key
            keys[order[k]] = (key & ~NUMBER) | found


# ---------------------------------------------------------------------------------------------------- figures
@kernel
def spread(starts, order, keys, state, figures):
    """figures[s]: F_SPACES, F_DUPLICATES, F_ZEROS, and F_GAPS: numbers between the smallest and the largest of each
    space that never came."""
    for s in range(starts.size - 1):
        spaces, again, zeros, gaps = 0, 0, 0, 0
        before, known = U0, False  # the number that came before in its space
        for k in range(starts[s], starts[s + 1]):
            row = order[k]
            key = keys[row]
            if k == starts[s] or key >> SPACE_BIT != keys[order[k - 1]] >> SPACE_BIT:
                spaces += 1
                known = False
            again += state[row] == AGAIN
            zeros += state[row] == ZERO
            if state[row] == FRESH:
                gaps += np.int64(key - before) - 1 if known else 0
                before, known = key, True
        figures[s, F_SPACES] = spaces
        figures[s, F_DUPLICATES] = again
        figures[s, F_ZEROS] = zeros
        figures[s, F_GAPS] = gaps


@kernel
def ages(starts, keys, state, sizes, figures, late, verdicts):
    """figures[s]: F_AGE and F_LATE; late[w, s]: packets of SA s that window w refuses though their numbers never came
    before; verdicts[w, k]: of packet k, as in `study.windows`; no rows = not wanted."""
    tops = np.zeros(SPACES_MAX, np.uint64)
    kept = verdicts.size > 0
    for s in range(starts.size - 1):
        first, end = starts[s], starts[s + 1]
        oldest, count = np.int64(0), 0
        for w in range(sizes.size):
            late[w, s] = 0
        for k in range(first, end):
            space, number = np.int64(keys[k] >> SPACE_BIT), keys[k] & NUMBER
            age = np.int64(0)
            if state[k] == FRESH:
                age = max(np.int64(tops[space]) - np.int64(number), np.int64(0))
                tops[space] = max(tops[space], number)
            if age > 0:
                oldest, count = max(oldest, age), count + 1
                for w in range(sizes.size):
                    late[w, s] += age >= sizes[w]
            if kept:
                for w in range(sizes.size):
                    passes = state[k] == FRESH and age < sizes[w]
                    verdicts[w, k] = ACCEPTED if passes else LATE + state[k]
        for k in range(first, end):
            tops[np.int64(keys[k] >> SPACE_BIT)] = U0
        figures[s, F_AGE] = oldest
        figures[s, F_LATE] = count
