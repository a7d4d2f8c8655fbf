"""qos: class maps, policy maps and queues, over columns of packets that a router has made.

port = OutputPort(cfg, "policy1", rate=1_000_000_000)
port.offer(batch)                       # classify, police, mark, queue
gone = port.run(until)                  # order and times of departure, drops

headers.py    what class maps look at, taken from frames; DSCPs written into them
sets.py       conditions as sets; classes.py class maps compiled for the `classify` kernel
treatment.py  marks and policers
policy.py     a policy map on a link, as a tree of queues: the choices where IOS leaves some
scheduler.py  the queues of one interface, run up to a horizon
port.py       service policies where they are attached
crypto.py     the crypto engine's two queues
"""

from qfp.qos.classes import Classifier
from qfp.qos.crypto import BEST_EFFORT, LLQ, CryptoQueue
from qfp.qos.errors import QosError
from qfp.qos.headers import headers_of, mark
from qfp.qos.policy import Defaults, QueuePolicy, compile_queues, flat
from qfp.qos.port import InputPolicy, OutputPort, Passed, rate_of
from qfp.qos.scheduler import Departures, Drops, Scheduler
from qfp.qos.treatment import Treated, Treatment

__all__ = [
    "BEST_EFFORT", "LLQ", "Classifier", "CryptoQueue", "Defaults", "Departures", "Drops", "InputPolicy", "OutputPort",
    "Passed", "QosError", "QueuePolicy", "Scheduler", "Treated", "Treatment", "compile_queues", "flat", "headers_of",
    "mark", "rate_of",
]  # fmt: skip
