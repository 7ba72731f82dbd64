"""The command line: parse, call one function, print. Heavy imports stay inside the commands: `--help` is quick."""

from __future__ import annotations

import gc
from typing import Any

import click

from digitsweep import __version__
from digitsweep.api import set_environment
from digitsweep.cli import comparing, exporting, families, promotion, reading, sweeping
from digitsweep.errors import DigitsweepError, printable


class _Group(click.Group):
    """Turns what a person can mend into one line on standard error and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DigitsweepError as error:
            for line in str(error).rstrip("\n").split("\n"):
                click.echo(f"digitsweep: {printable(line)}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("digitsweep: interrupted", err=True)
            ctx.exit(sweeping.INTERRUPTED)
        finally:
            gc.freeze()  # or the interpreter spends a second on looking for garbage, to throw everything away then


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="digitsweep")
def main() -> None:
    """Find the best network of each family for a set of images within a budget, and test whether the differences between
    them are real.

    Begin with `digitsweep sweep digits`, which takes about a minute. `digitsweep COMMAND --help` explains each command.
    """
    set_environment()


for _command in (
    *(sweeping.sweep, sweeping.validate, sweeping.doctor, sweeping.reconcile),
    *(comparing.compare, comparing.ui, comparing.data),
    *(promotion.promote, promotion.rollback, promotion.history, promotion.publish),
    *(reading.predict, reading.agree, reading.draw),
    exporting.export,
    families.check_family,
):
    main.add_command(_command)
