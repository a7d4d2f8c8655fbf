"""queue: the class of the output policy, which is the packet's queue behind encryption: the policy of the tunnel
interface whose SA protects it where that has one, else that of the egress interface.

Looked up by DSCP, which the outer header copies from the inner one, so that it is the same before and after encryption,
with `qos pre-classify` and without. The number is given before the sequence number: packets of one queue share a
sequence-number space (AR-6).
"""

import numpy as np

from qfp_kernels.layout import CLASSES_ROW, CTL_POLICIES


def queue(p, t, n):
    if t.ctl[CTL_POLICIES] == 0:
        return n
    for k in range(n):
        i = np.int64(p.tx[k])
        policy = np.int64(-1)
        if p.sp[i] >= 0 and t.sp[p.sp[i]].tun >= 0:
            policy = np.int64(t.ifs[t.sp[p.sp[i]].tun].policy)
        if policy < 0 and p.out_if[i] >= 0:
            policy = np.int64(t.ifs[p.out_if[i]].policy)
        if policy >= 0:
            family = 0 if p.fam[i] == 4 else CLASSES_ROW // 2
            p.cls[i] = t.classes[policy * CLASSES_ROW + family + np.int64(p.tos[i] >> np.uint8(2))]
    return n
