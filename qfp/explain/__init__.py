"""explain: what each stage decided for one frame, and why.

    result.explain(760)["verdict"]

    replay.py     runs the frames before as usual, then the frame itself through the same stages, one at a time
    look.py       the frame's rows between two stages
    words.py      addresses, SAs, packets as text and as facts
    policy.py     routes, crypto map entries and access lists that a packet met
    lives.py      which SA follows which, and why
    inbound.py, outbound.py, gre.py    the sentence of each stage
    steps.py      all of it as steps; the outcome
    text.py       lines of `qfp explain`

Every sentence is about what happened to this frame: tests/explain_check.py holds each against the bytes.
"""

from qfp.explain.replay import KEEPERS, ExplainError, Origin, explain, explain_trace, restore, state_of

__all__ = ["KEEPERS", "ExplainError", "Origin", "explain", "explain_trace", "restore", "state_of"]
