"""``sqlite-claims limit``: set, remove and list limits."""

from __future__ import annotations

import json

import click

from .. import opening
from ..model import LimitInfo
from .app import open_store
from .json_format import limit_entry
from .options import Number, Option, database, json_option, parse_duration
from .text import Column, clean, format_duration, print_table


class _RateType(click.ParamType[tuple[int, float]]):
    """The type of an option whose value is a number of claims and a period, for example ``100/1m``."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        number, slash, period = str(value).partition("/")
        # A period without a number is one unit: 100/m is 100/1m.
        period = period if period[:1].isdigit() else f"1{period}"
        try:
            if not slash or not number.isdecimal():
                raise ValueError(value)
            return int(number), parse_duration(period)
        except ValueError:
            self.fail(f"{value!r} is not a rate such as 10/s, 100/1m or 5000/24h.", param, ctx)


@click.group("limit")
def limit_command() -> None:
    """Limit how many tasks of DB run at the same time, or how many tasks start within a period."""


@limit_command.command("set")
@database
@click.argument("name")
@click.option(
    "--concurrency",
    cls=Option,
    metavar="N",
    type=Number(1),
    help="At most N tasks of each partition run at the same time.",
)
@click.option(
    "--rate", metavar="N/DURATION", type=_RateType(), help="At most N tasks of each partition start in a DURATION."
)
def set_command(database: str, name: str, concurrency: int | None, rate: tuple[int, float] | None) -> None:
    """Set the limit NAME, for all tasks that are added with --limit NAME or --limit NAME:PART.

    \b
        sqlite-claims limit set jobs.db disk --concurrency 2
        sqlite-claims limit set jobs.db api --rate 100/1m

    Each part is counted separately. DB is created if it does not exist. Both bounds of the limit are replaced.
    """
    if concurrency is None and rate is None:
        raise click.UsageError("Give --concurrency, --rate, or both.")
    with opening.open_store(database) as store:
        store.set_limit(name, concurrency=concurrency, rate=rate)


@limit_command.command("rm")
@database
@click.argument("name")
def rm_command(database: str, name: str) -> None:
    """Remove the limit NAME. Its tasks then run without a limit."""
    with open_store(database) as store:
        store.remove_limit(name)


@limit_command.command("ls")
@database
@json_option
def ls_command(database: str, as_json: bool) -> None:
    """List the limits, with the numbers of their running and waiting tasks."""
    with open_store(database, read_only=True) as store:
        limits = store.list_limits()
    if as_json:
        click.echo(json.dumps([limit_entry(limit) for limit in limits], indent=2))
        return
    columns = [
        Column("LIMIT", "cut"),
        Column("CONCURRENCY"),
        Column("RATE"),
        Column("RUNNING"),
        Column("WAITING"),
        Column("PARTITIONS"),
    ]
    print_table(columns, map(_cells, limits))


def _cells(limit: LimitInfo) -> list[str]:
    return [
        clean(limit.name),
        "" if limit.concurrency is None else str(limit.concurrency),
        "" if limit.rate is None else f"{limit.rate[0]} in {format_duration(limit.rate[1])}",
        str(limit.running),
        str(limit.waiting),
        str(limit.partitions),
    ]
