#!/bin/sh
# The sample scenario from end to end. Usage, from the top of the project: traces/demo.sh [PYTHON]
set -eu
python=${1:-python3}
branch=traces/branch
mkdir -p out

say() { printf '\n== %s\n' "$1"; }
qfp() { printf '$ qfp %s\n' "$*"; "$python" -m qfp "$@"; }

say "1. The branch router's configuration: what its lines came to"
printf '$ qfp check %s | tail -n 1\n' "$branch/branch.cfg"
lines=$("$python" -m qfp check $branch/branch.cfg)
printf '%s\n' "$lines" | tail -n 1

say "2. Office traffic enters the branch router on its LAN; what leaves on the line is protected"
qfp run $branch/branch.cfg $branch/office.pcapng --in GigabitEthernet0/0/1 \
    -o out/wire.pcapng --verdicts out/wire.parquet --export-sas out/branch-sas.json

say "3. The same packets arrive at head office and are opened; those for the Internet are routed on"
qfp run $branch/hq.cfg out/wire.pcapng --in GigabitEthernet0/0/0 -o out/hq.pcapng

say "4. The protected packets decrypted with the exported keys alone, without a configuration"
qfp decrypt out/wire.pcapng --keys out/branch-sas.json -o out/clear.pcapng

say "5. One voice packet at the branch router, stage by stage"
qfp explain $branch/branch.cfg $branch/office.pcapng --in GigabitEthernet0/0/1 --frame 760

say "6. The guide's figure (traces/figure): 101 and 102 overtake 1 to 100 behind encryption; one space, then sixteen"
qfp lab traces/figure/one-space.toml -o out/figure
qfp lab traces/figure/sixteen-spaces.toml -o out/figure-spaces

say "7. Voice over a nearly full line (traces/voice): queues behind encryption, and a replay window at the other end"
qfp lab traces/voice/one-space.toml -o out/one-space --picture out/one-space.svg

say "8. The same with a sequence-number space for each queue"
qfp lab traces/voice/sixteen-spaces.toml -o out/sixteen-spaces --picture out/sixteen-spaces.svg

say "9. What window would the line of step 7 have needed? Asked of its capture, without keys"
qfp replay-lab out/one-space/line.pcapng

say "Outputs"
cat <<'END'
out/wire.pcapng      what the branch router sent (open it with Wireshark)
out/wire.parquet     one row a frame: verdict, SA, sequence number, drop cause
out/branch-sas.json  the SAs that protected it, keys included
out/hq.pcapng        what head office delivered
out/clear.pcapng     the inner packets, decrypted with the keys alone
out/one-space/       the lab of step 7: the line's capture, one row a packet, the summary
out/one-space.svg    its losses and delays over time; out/sixteen-spaces.svg those of step 8
END
