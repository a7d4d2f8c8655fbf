"""Names of stages by the number that verdicts carry."""

from qfp_kernels import commit, decap, encap, forward, join, lookup, parse, sequence, spd

_NUMBERS = {
    "": 0, "parse": parse.STAGE_PARSE, "lookup": lookup.STAGE_LOOKUP, "decap": decap.STAGE_DECAP,
    "commit": commit.STAGE_COMMIT, "policy": join.STAGE_POLICY, "forward": forward.STAGE_FORWARD,
    "spd": spd.STAGE_SPD, "sequence": sequence.STAGE_SEQUENCE, "encap": encap.STAGE_ENCAP, "join": join.STAGE_JOIN,
}  # fmt: skip
STAGE_NAMES = [next((n for n, k in _NUMBERS.items() if k == number), "") for number in range(max(_NUMBERS.values()) + 1)]
