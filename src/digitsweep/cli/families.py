"""Commands about families of networks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from digitsweep.cli.shared import console_here
from digitsweep.errors import InputError

SHAPE = "28x28x1"


@click.command("check-family")
@click.argument("family")
@click.option("--data", type=click.Path(path_type=Path), help="Check with the shape and classes of these images.")
@click.option("--shape", default=SHAPE, show_default=True, help="Height, width and channels, without --data.")
@click.option(
    "--classes", type=click.IntRange(2, 256), default=10, show_default=True, help="Number of classes, without --data."
)
def check_family(family: str, data: Path | None, shape: str, classes: int) -> None:
    """Check that a family of networks keeps its contract.

    FAMILY is a file and the name in it, such as my_models.py:MIXER, or the name of a family that is built in or installed.
    Runs the file's code. Builds the networks at the corners of the default search space. Saves two of them, loads them
    without digitsweep, and trains them for one step. The exit code is 2 if a check fails.
    """
    from digitsweep.cli.tables import print_findings
    from digitsweep.families.outside import find_family
    from digitsweep.training.startup import import_tensorflow_quietly

    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})x([13])", shape)
    if found is None or found[1] != found[2] or int(found[1]) < 1:
        raise InputError(
            f"--shape must be height, width and channels of square images, such as {SHAPE} or 32x32x3, but is {shape}"
        )
    height, width, channels = map(int, found.groups())
    import_tensorflow_quietly()
    name = find_family(family)
    from digitsweep.contract import check_family as findings_of

    sizes = (height, width, channels)
    if data is not None:
        from digitsweep.data.sources import load_dataset

        training = load_dataset(data, validation=0.5, seed=0).training
        sizes, classes = training.shape, training.classes
    findings = findings_of(name, sizes, classes)
    print_findings(findings, console_here(), fine="the family keeps its contract", failed="the family breaks its contract")
    if any(each.state == "wrong" for each in findings):
        sys.exit(InputError.exit_code)
