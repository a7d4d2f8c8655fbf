"""scapy's view of fragments, as a program of its own: one JSON request on standard input, one answer.

{"fragment": [[packet hex, bytes of payload a fragment], …], "defragment": [[fragment hex, …], …],
 "fragment6": …, "defragment6": …} -> the same keys, with lists of hex; {"missing": text} without scapy.
"""

import json
import sys


def main() -> None:
    request = json.load(sys.stdin)
    try:
        from scapy.layers.inet import IP, defragment, fragment
        from scapy.layers.inet6 import IPv6, defragment6, fragment6
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    cuts = {"fragment": (IP, fragment), "fragment6": (IPv6, fragment6)}
    answer = {
        key: [[bytes(p).hex() for p in cut(kind(bytes.fromhex(text)), size)] for text, size in request[key]]
        for key, (kind, cut) in cuts.items()
    }
    answer["defragment"] = [
        [bytes(p).hex() for p in defragment([IP(bytes.fromhex(text)) for text in pieces])]
        for pieces in request["defragment"]
    ]
    answer["defragment6"] = [
        bytes(defragment6([IPv6(bytes.fromhex(text)) for text in pieces])).hex() for pieces in request["defragment6"]
    ]
    print(json.dumps(answer))


main()
