"""The command line. One file a command; nothing heavy is imported before a command needs it."""

from typing import Annotated

import typer

from qfp import __version__
from qfp.cli import bench, check, convert, decrypt, diff, explain, lab, mtu, replay_lab, run

app = typer.Typer(
    name="qfp", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    help="An IPsec forwarding processor in software: captures through IOS-style configurations, a verdict a packet.",
    epilog="Exit status: 0 done, 1 a comparison failed, 2 wrong arguments, configuration or keys, 3 damaged input.",
)  # fmt: skip
for command in (
    run.run, decrypt.decrypt, explain.explain, lab.lab, replay_lab.replay_lab, replay_lab.strip, mtu.mtu, check.check,
    convert.convert, bench.bench, diff.diff,
):  # fmt: skip
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"qfp {__version__}")
        raise typer.Exit()


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
