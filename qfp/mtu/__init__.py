"""mtu: which packet sizes get through an IPsec path, how, and which vanish.

import qfp.mtu
found = qfp.mtu.report(qfp.Router.load("branch.cfg"), qfp.Router.load("hq.cfg"))
found.paths[0].black_holes

datagrams.py  datagrams of every size, as a source host sends them
paths.py      the protected paths of a configuration, and a flow that takes each; flows.py where to look for one
sweep.py      all sizes through the real data plane, and through the peer's; reading.py decodes what came out
alike.py      which paths must fare alike: one is swept, of the others only the ends of bands are sent
bands.py      contiguous sizes with the same fate; black holes
advice.py     MTU and MSS to configure, with the arithmetic
report.py     all of it together
words.py      facts as sentences; picture.py the bar of a terminal; chart.py a drawing
"""

from qfp.mtu.paths import MtuError
from qfp.mtu.report import SCHEMA, Report, report
from qfp.mtu.sweep import SweepFault

__all__ = ["SCHEMA", "MtuError", "Report", "SweepFault", "report"]
