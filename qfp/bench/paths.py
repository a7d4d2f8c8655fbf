"""Cases: whole paths and their stages, outbound, inbound and with key files alone. What is timed is checked first."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from qfp import fia
from qfp.batch import Batch
from qfp.bench import loop, traffic
from qfp.bench.rows import Label
from qfp.bench.runner import Case
from qfp.bench.site import GCM, HUB, SPOKES, Site
from qfp.bench.track import BenchError, Router, Track, by_stage, whole
from qfp.decrypt import Decryptor
from qfp_kernels.capture import walk_batch
from qfp_kernels.checksum import header_sum
from qfp_kernels.layout import OUT_NONE, OUT_PCAPNG

OUTBOUND, INBOUND, DECRYPT = "outbound", "inbound", "decrypt"
DIRECTIONS = (OUTBOUND, INBOUND, DECRYPT)
CHECKED = 48  # packets whose bytes are compared
Measure = Callable[[Track], dict[str, float]]
