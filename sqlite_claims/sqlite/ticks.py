"""The rules that decide which ticks of a schedule are added at a given time, without any access to the file.

A schedule counts its ticks from a *mark*: all ticks until the mark are done. Usually a schedule has one mark, which
advances with the wall clock. If the wall clock is set back by a day or more, the schedule gets a second mark at the new
time, and counts from there. When the wall clock has returned to the first mark, the second mark is dropped. So ticks
that are done never count as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..schedules import CatchUp, Cron, Every
from ..validate import WALL_US_MAX

DAY_US = 86_400_000_000
# With catch_up="none", a tick that is late by this much is dropped. `status` reports a schedule that is later.
LATE_US = 60_000_000
# The number of missed ticks that catch_up="all" adds.
MISSED_MAX = 1_000
# The number of marks that a schedule keeps. Each mark after the first needs another step back of the wall clock.
_MARKS_MAX = 8


class Look(NamedTuple):
    """The result of a look at a schedule: the ticks to add now (oldest first), the marks, and the next tick."""

    ticks: Sequence[int]
    marks: list[int]
    next_wall: int


def look(
    when: Cron | Every, catch_up: CatchUp, marks: Sequence[int], *, wall: int, stepped_us: int, limit: int
) -> Look:
    """Return the ticks that are due.

    Args:
        when: The times of the ticks.
        catch_up: The ticks to add, if ticks were missed.
        marks: The marks of the schedule, in the order in which they were set.
        wall: The wall clock.
        stepped_us: The microseconds by which the wall clock was set forward since the last look; negative if the wall
            clock was set back.
        limit: Maximum number of ticks.
    """
    kept = _marks_at(marks, wall, stepped_us)
    after = kept[-1]
    if after >= wall:
        return Look((), kept, next_tick(when, after))
    count = {"latest": 1, "all": MISSED_MAX, "none": when.most_in(LATE_US)}[catch_up]
    due = when.newest(after_us=after, until_us=wall, count=count)
    if not due:
        return Look((), kept, next_tick(when, after))
    newest = due[-1]
    if catch_up == "none":
        due = [tick for tick in due if tick > wall - LATE_US]
    if len(due) > limit:
        return Look(due[:limit], [*kept[:-1], due[limit - 1]], due[limit])
    return Look(due, [*kept[:-1], newest], next_tick(when, newest))


def next_tick(when: Cron | Every, after: int) -> int:
    """Return the first tick after a time; the end of the year 9999 if there is no tick until then."""
    tick = when.next_after(after)
    return WALL_US_MAX if tick is None else tick


def _marks_at(marks: Sequence[int], wall: int, stepped_us: int) -> list[int]:
    kept = list(marks)
    # If the clock was set forward by at least a day, to less than a day before a mark, it has returned to this mark.
    near_us = DAY_US if stepped_us >= DAY_US else 0
    while len(kept) > 1 and wall > kept[-2] - near_us:
        kept.pop()
    if wall < kept[-1] and (stepped_us <= -DAY_US or wall <= kept[-1] - DAY_US):
        kept.append(wall)
    return kept[-_MARKS_MAX:]
