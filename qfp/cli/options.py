"""Options that several commands take, each declared once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

WINDOW_MAX = 4096  # packets, as qfp.sa
BATCH_MAX = 1024  # packets of a vector


class EngineName(StrEnum):
    """Crypto engines."""

    NATIVE = "native"
    OPENSSL = "openssl"


class Keying(StrEnum):
    """Where SAs come from."""

    AUTO = "auto"
    MANUAL = "manual"
    IKE = "ike"


ConfigArg = Annotated[Path, typer.Argument(metavar="CONFIG", help="IOS-style configuration.")]
TraceArg = Annotated[Path, typer.Argument(metavar="TRACE", help="pcap, pcapng (also .gz, .zst), Parquet or Arrow.")]
Ingress = Annotated[str, typer.Option("--in", metavar="IFACE", help="Interface at which the trace arrives (gi0/0/1).")]
KEYS_HELP = "SA file, Wireshark esp_sa, ip xfrm state, setkey -D, tcpdump -E, a daemon's log with keys."
Keys = Annotated[Path | None, typer.Option("--keys", metavar="FILE", help=KEYS_HELP)]
StrictKeys = Annotated[
    bool, typer.Option("--strict-keys", help="Refuse a key file of which something cannot be used (exit status 2).")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="OUT", help="Packets sent: .pcapng, .pcap, .parquet, .arrow.")
]
Verdicts = Annotated[
    Path | None, typer.Option("--verdicts", metavar="V", help="One row an input frame: .parquet or .arrow.")
]
Log = Annotated[
    str | None,
    typer.Option("--log", metavar="FILE|-", help="IOS log lines of refused packets; - is stdout (stderr with --json)."),
]
ExportSas = Annotated[
    Path | None,
    typer.Option("--export-sas", metavar="S.json", help="SAs of all generations, next numbers and keys included."),
]
ExportEspSa = Annotated[Path | None, typer.Option("--export-esp-sa", metavar="FILE", help="The same for Wireshark.")]
Rekey = Annotated[
    bool,
    typer.Option("--rekey/--no-rekey", help="New SAs at soft lifetimes; without, SAs end at their hard ones."),
]
Engine = Annotated[EngineName | None, typer.Option("--engine", help="Crypto engine; the default is the best here.")]
BatchSize = Annotated[
    int, typer.Option("--batch", metavar="N", min=0, max=BATCH_MAX, help="Packets a vector; 0 is the default of 256.")
]
Threads = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, max=64, help="Threads; results do not depend on it.")
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Seed of auto keying, one for both ends: equal seed, equal keys."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
KeyingOption = Annotated[
    Keying, typer.Option("--keying", help="SAs derived from configuration and seed, or session keys.")
]
Window = Annotated[
    int | None,
    typer.Option("--window", metavar="N", min=0, max=WINDOW_MAX, help="Replay window of all SAs; 0 is no check."),
]
Selectors = Annotated[
    bool,
    typer.Option("--selectors/--no-selectors", help="SAs carry only what their selectors in the key file say."),
]
KeepClear = Annotated[bool, typer.Option("--keep-clear", help="Write clear packets as well.")]
Platform = Annotated[
    str | None,
    typer.Option("--platform", metavar="NAME", help="Device to model, e.g. isr4300; the default has everything."),
]
Release = Annotated[
    str | None, typer.Option("--release", metavar="R", help="Its software, e.g. 16.9; the default is 16.6.1.")
]
AllowNull = Annotated[
    bool, typer.Option("--allow-null", help="Take ESP that neither encrypts nor authenticates: anybody can write it.")
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Status 2 for a configuration with errors; in check for one with warnings too."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="DIR", help="Keep there what a broken-off run needs to go on, with keys."),
]
Every = Annotated[
    str | None, typer.Option("--every", metavar="TIME", help="Between two checkpoints: 10s (the default), 500ms.")
]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Go on from the checkpoint there, or begin anew without one."),
]
Save = Annotated[
    Path | None,
    typer.Option("--save", metavar="DIR", help="A home for the run: manifest, verdicts, counters, state with keys."),
]
IKE_REMEDY = "IKE between simulated routers is not built yet: use --keying auto, --keying manual or --keys FILE"
