"""Commands about champions: promote, roll back, show the history, publish."""

from __future__ import annotations

from pathlib import Path

import click

from digitsweep.cli.shared import console_here, option
from digitsweep.errors import InputError

_model = click.argument("name")


@click.command()
@_model
@option("--version", click.IntRange(min=1), "The version to promote; auto: the challenger.")
@option("--data", click.Path(path_type=Path), "The folder or file with the test images; auto: as recorded with the model.")
@option("--gate", click.Path(path_type=Path), "The gate's YAML file; auto: experiments/gate.yaml, or the built-in gate.")
@click.option(
    "--dry-run", is_flag=True, help="Decide, but promote nothing. Still opens the test set and counts as an attempt."
)
@click.option("--force", is_flag=True, help="Promote even if the gate refuses. Requires --reason; the ledger records both.")
@click.option("--reason", help="The reason for --force.")
def promote(
    name: str, version: int | None, data: Path | None, gate: Path | None, dry_run: bool, force: bool, reason: str | None
) -> None:
    """Make a challenger champion if it passes the gate.

    NAME is a registered model: the name of the data, a hyphen and the family. Challenger and champion are evaluated on the
    same sealed test images. Each further model that is tried on these images must show a clearer lead, since one would
    eventually win by luck: at attempt k, p must be below level / (k (k + 1) / 2). Every model that a sweep, a comparison, a
    promotion or a dry run evaluates on these images is an attempt, except the champion. Evaluating a model again is not
    another attempt.

    The exit code is 3 if nothing was promoted, because the gate refused, another promotion came first, or the model is the
    champion already. The ledger records this, except for a dry run.
    """
    if force != (reason is not None):
        raise InputError("--force and --reason: must be given together")
    from digitsweep.training.startup import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.cli.tables import print_decision, print_text
        from digitsweep.registry.promote import promote as run_promotion

    console = console_here()
    decision = run_promotion(
        name,
        None if version is None else str(version),
        gate=gate,
        data=data,
        dry_run=dry_run,
        force=reason,
        show=lambda decided: print_decision(decided, console),
    )
    print_text(f"{decision.challenger.label} {'would be' if dry_run else 'is'} champion.", console)


@click.command()
@_model
@click.option("--reason", help="The reason for the rollback; the ledger records it.")
def rollback(name: str, reason: str | None) -> None:
    """Make the previous champion of NAME champion again."""
    from digitsweep.registry.promote import rollback as run_rollback

    record = run_rollback(name, reason)
    click.echo(f"{name} {record.to} is champion again, in place of {record.came_from or 'none'}: record {record.place}.")


@click.command()
@_model
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the gate's decisions in full.")
def history(name: str, as_json: bool) -> None:
    """Show every promotion, refusal and rollback of NAME.

    For each, shows who did it, when, from which version to which, and why.
    """
    import json

    from digitsweep.cli.tables import print_history
    from digitsweep.registry.promote import history as read_history

    found = read_history(name)
    if as_json:
        click.echo(json.dumps(found.values(), indent=2))
    else:
        print_history(found, console_here())


@click.command()
@_model
@click.option("--to", required=True, metavar="URI", help="The tracking URI of the other server.")
@click.option("--champion", is_flag=True, help="Make the copy the champion there, instead of a challenger.")
def publish(name: str, to: str, champion: bool) -> None:
    """Copy the champion of NAME to another registry.

    Copies the model's files, its tags and the gate's decision. If you publish a version again, it is not copied again.
    """
    from digitsweep.registry.publish import publish as run_publication
    from digitsweep.tracking.client import without_secrets

    done = run_publication(name, to, champion=champion)
    how = "is" if done.new else "was there already, as"
    click.echo(f"{name} {done.source.version} {how} version {done.there.version} at {without_secrets(to)}, {done.alias}.")
