"""antireplay: which replay window a capture needs, under which scheme of numbering. No keys, no configuration.

    import qfp.antireplay
    found = qfp.antireplay.report("wan.pcapng", windows=(64, 1024))
    found.sas[0]["schemes"][0]["loss_free_window"]

    columns.py    ESP and AH headers of a capture as columns; on disk when they are many
    strip.py      tables of the same without addresses, written and read
    numbers.py    the schemes: which space and which number a packet has in each
    study.py      windows and reordering of one SA under one scheme
    crowd.py      the figures of many short SAs at once, where there are too many to report each
    totals.py     all SAs in sum
    report.py     all of it together; tables.py its tables; chart.py a drawing

Every packet counts as authentic. The receiver is that of `qfp_kernels.replay`, run by `qfp_kernels.study`.
"""

from qfp.antireplay.columns import ReplayLabError
from qfp.antireplay.report import SCHEMA, Report, report
from qfp.antireplay.strip import strip

__all__ = ["SCHEMA", "ReplayLabError", "Report", "report", "strip"]
