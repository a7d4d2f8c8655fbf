"""Write the pages that are generated: `python docs/generate.py [FOLDER]` (`make docs`).

drops.md comes from kernels/qfp_kernels/drops.py, columns.md from kernels/qfp_kernels/layout.py, whose comments say
what a field means: so the pages cannot say anything else than the code. tests/test_docs.py compares them.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from qfp import fia
from qfp.contracts import contract
from qfp.trace.verdicts import SCHEMA, VERDICT_SCHEMA
from qfp_kernels import capture, layout
from qfp_kernels.drops import CAUSES, Verdict

VERDICTS = {
    Verdict.FORWARDED: "protected, or decapsulated, and sent",
    Verdict.DROPPED: "not sent; `cause` says why",
    Verdict.CONSUMED: "taken in by the data plane itself: NAT keepalive, dummy packet",
    Verdict.PUNTED: "handed to the control plane: not IP, IKE, for the router itself",
    Verdict.BYPASSED: "sent without IPsec",
    Verdict.QUEUED: "still in a queue at the end of the run",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)


def generated(source: str) -> str:
    return f"<!-- Generated from {source} by docs/generate.py: change that file, then run `make docs`. -->"


def drops_page() -> str:
    """Every verdict, and every drop cause with its counterparts elsewhere."""
    verdicts = ((f"`{v.name.lower()}`", VERDICTS[v]) for v in Verdict if v)
    causes = (
        (c.number, f"`{c.name}`", c.stage, c.sentence, f"{c.xe_code or ''} `{c.xe_name}`".strip(), f"`{c.linux}`")
        for c in CAUSES[1:]
    )
    return "\n\n".join(
        (
            generated("kernels/qfp_kernels/drops.py"),
            "# Verdicts and drop causes",
            "Every frame that comes in has exactly one verdict; no packet leaves without one.",
            table(("verdict", "what became of the frame"), verdicts),
            "A dropped frame has a cause. The stage is the one that finds it (see `qfp/fia.py` for the order of "
            "stages). The IOS XE column names the drop of `show platform hardware qfp active`, with its code where it "
            "belongs to the IPsec feature; the Linux column names the counter of `/proc/net/xfrm_stat` or of the "
            "interfaces MIB that counts the same.",
            table(("no.", "cause", "stage", "meaning", "IOS XE", "Linux"), causes),
        )
    )


class Source:
    """The text of layout.py: what its comments say about the fields declared on the same line."""

    def __init__(self, path: Path):
        text = path.read_text(encoding="utf-8")
        self._lines = text.splitlines()
        self._values: dict[str, ast.expr] = {}
        for node in ast.parse(text).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                self._values[target.id] = node.value

    def _comment(self, line: int) -> str:
        _, mark, comment = self._lines[line - 1].partition("  # ")
        return comment.strip() if mark and comment.strip() != "fmt: skip" else ""

    def about(self, name: str) -> str:
        """The comment behind the opening bracket of a declaration."""
        return self._comment(self._values[name].lineno)

    def rows(self, name: str) -> Iterator[tuple[list[str], str]]:
        """(fields, comment) of each line of a declaration, padding left out."""
        value = self._values[name]
        assert isinstance(value, ast.List)
        by_line: dict[int, list[str]] = {}
        for field in value.elts:
            assert isinstance(field, ast.Tuple)
            label, kind, *shape = (ast.literal_eval(part) for part in field.elts if not isinstance(part, ast.Name))
            what = " *" + part.id.lower() + "*" if isinstance(part := field.elts[-1], ast.Name) else ""
            if label != "pad":
                told = f"`{label}` {kind}" + (f"[{shape[0][0]}]" if shape else "") + what
                by_line.setdefault(field.lineno, []).append(told)
        for line, fields in by_line.items():
            comment = "" if line == value.lineno else self._comment(line)
            yield fields, comment

    def comments(self, name: str) -> dict[str, str]:
        """Comment behind each key of a dict."""
        value = self._values[name]
        assert isinstance(value, ast.Dict)
        return {ast.literal_eval(key): self._comment(key.lineno) for key in value.keys if key is not None}

    def headings(self, name: str) -> dict[str, str]:
        """Heading above each column, by the column that follows it: comments on lines of their own."""
        value = self._values[name]
        assert isinstance(value, ast.Tuple)
        out = {}
        for field in value.elts:
            above = self._lines[field.lineno - 2].strip()
            if above.startswith("# "):
                assert isinstance(field, ast.Call)
                out[ast.literal_eval(field.args[0])] = above[2:]
        return out


# Struct declarations of layout.py, and the tables of TABLES (or the column) whose rows they are.
STRUCTS = {
    "IFS": "ifs", "FIB_ROOT": "fib_root", "FIB_NODE": "fib_node", "ADJ": "adj", "SPD": "spd", "TUPLE": "tup",
    "ACE": "ace", "SP": "sp", "FLOW": "flow", "SAD_SLOT": "sad", "SA": "sa", "SA_OUT": "sa_out", "SA_IN": "sa_in",
}  # fmt: skip


def packet_columns(source: Source) -> str:
    """The columns of the workspace, under the headings of their declaration."""
    headings = source.headings("PACKET_FIELDS")
    parts: list[str] = []
    rows: list[tuple[str, str, str]] = []
    title = ""
    for f in (*layout.PACKET_FIELDS, None):
        if f is None or f.name in headings:
            if rows:
                parts += [f"### {title[:1].upper()}{title[1:]}", table(("column", "type", "meaning"), rows)]
            title, rows = headings[f.name] if f is not None else "", []
        if f is not None:
            count = f" x {f.per_row}" if f.per_row > 1 else f", {f.size} in all" if f.per_row == 0 else ""
            rows.append((f"`{f.name}`", f.dtype + count, f.meaning))
    return "\n\n".join(parts)


def struct_tables(source: Source) -> str:
    """Every table whose rows are structs."""
    parts = []
    for name, label in STRUCTS.items():
        about = source.about(name)
        size = f"{layout.STRUCTS[label].itemsize} bytes a row" + (f": {about}." if about else ".")
        rows = ((", ".join(fields), comment) for fields, comment in source.rows(name))
        parts += [f"### `{label}`", size, table(("fields", "meaning"), rows)]
    return "\n\n".join(parts)


def plain_tables(source: Source) -> str:
    """The tables whose rows are single numbers."""
    comments = source.comments("TABLES")
    rows = (
        (f"`{name}`", kind.str[1:], layout.TABLE_KINDS[name].get("", ""), comments.get(name, ""))
        for name, kind in layout.TABLE_TYPES.items()
        if kind.names is None and not name.startswith("v_")
    )
    return table(("table", "type", "what", "meaning"), rows)


def arrow_type(kind: pa.DataType) -> str:
    return f"dictionary of {kind.value_type}" if pa.types.is_dictionary(kind) else str(kind)


def columns_page() -> str:
    """Packet columns, table rows and the verdict schema."""
    source = Source(Path(layout.__file__))
    fields = ((VERDICT_SCHEMA.field(f.name), f.meaning) for f in layout.VERDICT_FIELDS)
    verdicts = ((f"`{f.name}`", arrow_type(f.type), "yes" if f.nullable else "", meaning) for f, meaning in fields)
    return "\n\n".join(
        (
            generated("kernels/qfp_kernels/layout.py"),
            "# Columns, tables, verdicts",
            "Types are numpy's: `u4` is an unsigned integer of 4 bytes. Numbers are in host order unless the meaning "
            "says otherwise. An address is two 64-bit words, most significant first; an IPv4 address is the second "
            "word alone.",
            "## Verdict table",
            f"What `--verdicts` writes (schema `{SCHEMA}` in the file's metadata): one row an input frame, in order. "
            "Causes are listed in [drops.md](drops.md).",
            table(("column", "Arrow type", "null", "meaning"), verdicts),
            "## Packet columns",
            f"One element a row; a workspace has {layout.VECTOR_MAX} rows.",
            packet_columns(source),
            "## Tables",
            "The contract between the planes: the control plane writes them, the data plane reads them and keeps its "
            "counters, sequence numbers and windows in them. Fields that share a line are declared together. *state* "
            "is what packets or timers change and later packets depend on, *counter* what nothing depends on, "
            "*scratch* of one run; without a word a field is the control plane's (*config*).",
            struct_tables(source),
            "### Tables of numbers",
            "The `v_` tables hold verdict rows on their way out, one for each column of the verdict table.",
            plain_tables(source),
        )
    )


LISTS = {
    layout.LIST_SOURCE: "the source", layout.LIST_ROWS: "all rows", layout.LIST_RX: "rx", layout.LIST_TX: "tx",
    layout.LIST_AH: "ah", layout.LIST_FR: "fr", layout.LIST_IC: "ic", layout.LIST_TU: "tu",
    layout.LIST_ER: "rows with an ICMP error due",
}  # fmt: skip


def stages_page() -> str:
    """What each stage reads, writes and may drop, as its source says."""
    every = (*fia.router(capture.walk_pcapng, capture.emit_pcapng), fia.SELECT_NESTED, fia.SELECT)
    parts = []
    for stage in dict.fromkeys(every):
        found = contract(stage)
        order = ", in packet order" if stage.serial else ""
        rows = ((what, ", ".join(f"`{name}`" for name in sorted(names))) for what, names in (
            ("reads", found.reads), ("writes", found.writes), ("reads tables", found.tables_read),
            ("writes tables", found.tables_written), ("may drop as", found.drops)) if names)  # fmt: skip
        parts += [f"## {stage.name}", f"Walks {LISTS[stage.walks]}{order}.", table(("", "names"), rows)]
    return "\n\n".join(
        (
            generated("qfp/fia.py and the sources of the stages"),
            "# Stages",
            "What each stage of `qfp/fia.py` reads and writes, derived from its source by `qfp/contracts.py`: an upper "
            "bound, with what stands on branches that few packets take. Columns and tables are explained in "
            "[columns.md](columns.md), causes in [drops.md](drops.md). `seal`, `open` and `seal_ah` have the ciphers' "
            "stages in them.",
            *parts,
        )
    )


PAGES: dict[str, Callable[[], str]] = {
    "drops.md": drops_page, "columns.md": columns_page, "stages.md": stages_page,
}  # fmt: skip


def main(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n", encoding="utf-8")
        print(f"{folder / name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
