"""contexts: key material -> crypto contexts, for a run of SA rows at once (a Python loop took 28 us an SA)."""

import numpy as np

from qfp_kernels.aes import expand_key, invert_keys
from qfp_kernels.cbc import AT_SALT
from qfp_kernels.columns import base
from qfp_kernels.gcm import gcm_context
from qfp_kernels.jit import kernel
from qfp_kernels.layout import CONTEXT, KEYS
from qfp_kernels.simd import ld32, load128, set128, store

KEY_AT, SALT_AT, MAC_KEY_AT = 0, 32, 48  # in a row of `keys`
SCHEDULE_GCM, SCHEDULE_ENCRYPT, SCHEDULE_DECRYPT = range(3)


@kernel
def build(t, rows, schedule, words):
    """Fill `ctx` of the given SA rows (int64 array) from `keys`: AES with `words` * 4 byte keys."""
    zero = np.uint64(0)
    for k in range(rows.size):
        ctx = base(t.ctx) + rows[k] * CONTEXT
        key = base(t.keys) + rows[k] * KEYS
        salt = np.uint64(ld32(key + SALT_AT))
        if schedule == SCHEDULE_GCM:
            gcm_context(ctx, key + KEY_AT, words, salt)
            continue
        rounds = expand_key(key + KEY_AT, words, ctx)
        store(ctx + AT_SALT, set128(salt, zero) ^ load128(ctx))  # CTR: nonce and round key 0 in one
        if schedule == SCHEDULE_DECRYPT:
            invert_keys(ctx, rounds)
