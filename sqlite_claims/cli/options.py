"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

_SECONDS_PER_UNIT = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) *(ms|[smhdw]?)")


class Number(click.IntRange):
    """The type of an option whose value is a whole number within limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = click.INT.convert(value, param, ctx)
        if self.min is not None and number < self.min:
            self.fail(f"{number} is less than {self.min}.", param, ctx)
        if self.max is not None and number > self.max:
            self.fail(f"{number} is more than {self.max}.", param, ctx)
        return number


ROW_COUNT = Number(0, 2**31 - 1)
"""The type of an option that limits the number of rows. The value 0 means no limit."""


class Option(click.Option):
    """An option that may have aliases, which the help text does not show.

    The help text also omits the range of a number. If a default is described in words, the help text omits the
    parentheses around the default.
    """

    def __init__(self, *args: Any, aliases: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.aliases = list(aliases)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        if self.aliases:
            parser.add_option(obj=self, opts=self.aliases, dest=self.name, action="store", nargs=self.nargs)

    def get_error_hint(self, ctx: click.Context | None) -> str:  # noqa: ARG002
        return " / ".join(repr(name) for name in [*self.opts, *self.aliases])

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra


def parse_duration(text: str) -> float:
    """Return a duration such as ``90``, ``1.5h`` or ``7d`` in seconds. Raises ``ValueError`` if the text is not a
    duration."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90 (seconds), 30s, 10m, 2h or 7d")
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


class DurationType(click.ParamType[float]):
    """The type of an option whose value is a duration. The value is converted to seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


database = click.argument("database", metavar="DB", type=click.Path(dir_okay=False))
"""The argument DB, the path of the store's file. All commands except ``bench`` have this argument."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
