"""Commands about champions: promote, go back, tell the history, publish."""

from __future__ import annotations

from pathlib import Path

import click

from digitsweep.cli.shared import console_here, option
from digitsweep.errors import InputError


@click.command()
@click.argument("name")
@option("--version", click.IntRange(min=1), "The version to promote; auto: the one with the alias challenger.")
@option(
    "--gate",
    click.Path(path_type=Path),
    "The gate's YAML file; auto: experiments/gate.yaml, or its rules where it is not there.",
)
@option("--data", click.Path(path_type=Path), "Where the test images lie, if no longer where the model says.")
@click.option("--dry-run", is_flag=True, help="Decide only; that the test set was opened is noted.")
@click.option("--force", is_flag=True, help="Promote whatever the gate says; needs --reason, and the ledger says so.")
@click.option("--reason", help="Why it is forced.")
def promote(
    name: str, version: int | None, gate: Path | None, data: Path | None, dry_run: bool, force: bool, reason: str | None
) -> None:
    """Make the challenger of the registered model NAME its champion, if the gate lets it.

    Challenger and champion are asked about the same sealed test images. Exit code 3 where the gate refuses, or another
    promotion came first: then this one has changed no champion, and the ledger says so.
    """
    if force != (reason is not None):
        raise InputError("--force and --reason: go together; to promote whatever the gate says needs a reason")
    from digitsweep.quiet import import_tensorflow_quietly, no_collections

    with no_collections():
        import_tensorflow_quietly()
        from digitsweep.promotion.promoting import promote as run_promotion
        from digitsweep.promotion.table import print_decision

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
    done = "would be" if dry_run else "is"
    console.print(f"{decision.challenger.label} {done} champion.", markup=False, highlight=False, soft_wrap=True)


@click.command()
@click.argument("name")
@click.option("--reason", help="Why; it stands in the ledger.")
def rollback(name: str, reason: str | None) -> None:
    """Give the alias champion of the registered model NAME back to the version that had it before."""
    from digitsweep.promotion.promoting import rollback as run_rollback

    record = run_rollback(name, reason)
    click.echo(f"{name} {record.to} is champion again, in place of {record.came_from or 'none'}: record {record.place}.")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: with every decision in full.")
def history(name: str, as_json: bool) -> None:
    """Tell who was champion of the registered model NAME, since when and why, and what was refused."""
    from digitsweep.promotion.promoting import history as told_by
    from digitsweep.promotion.table import print_history

    told = told_by(name)
    if as_json:
        import json

        click.echo(json.dumps(told.values(), indent=2))
    else:
        print_history(told, console_here())


@click.command()
@click.argument("name")
@click.option("--to", required=True, help="The tracking URI of the other server; its registry gets the version.")
@click.option("--champion", is_flag=True, help="Make it champion there; else it is a challenger there.")
def publish(name: str, to: str, champion: bool) -> None:
    """Copy the champion of the registered model NAME, with its tags and evidence, to another registry.

    A version that is there already is not copied again.
    """
    from digitsweep.promotion.publishing import publish as run_publication
    from digitsweep.store import without_secrets

    done = run_publication(name, to, champion=champion)
    how = "is" if done.new else "was there already, as"
    click.echo(f"{name} {done.source.version} {how} version {done.there.version} at {without_secrets(to)}, {done.alias}.")
