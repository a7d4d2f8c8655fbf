"""Whose packet it is: this router's own, or one on its way through."""

from qfp_kernels.fib import route
from qfp_kernels.jit import outlined
from qfp_kernels.layout import CTL_MODE, MODE_DECRYPT


@outlined
def is_local(p, t, i):
    """Whether the destination is an address of this router (with key files alone: always)."""
    if t.ctl[CTL_MODE] == MODE_DECRYPT:
        return True
    f = route(t, t.ifs[p.in_if[i]].vrf, p.fam[i], p.dst0[i], p.dst1[i])
    return f >= 0 and t.adj[f].local != 0
