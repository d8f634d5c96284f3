"""The records of schedules: when the ticks of a schedule come, and the information about a stored schedule.

A *tick* is a time at which a schedule adds an instance. All times of ticks are microseconds since the Unix epoch, by
the wall clock. This module reads no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from . import validate
from .errors import InvalidArgumentError
from .model import Duration, NewTask

CatchUp = Literal["latest", "all", "none"]
"""The ticks that a schedule adds after a time in which no process looked for work."""

# The longest name of a schedule, in bytes. The name of a tick's instance adds at most 28 bytes.
NAME_BYTES_MAX = 228
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = 3_600_000_000
# A date from which each date that cronsim can find comes within the 50 years for which cronsim searches.
_REFERENCE = datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS = "minute, hour, day of month, month and day of week"


@dataclass(frozen=True, slots=True)
class Cron:
    """Ticks at the times of a cron expression. The constructor raises ``InvalidArgumentError`` if an argument is wrong.

    At a change between standard time and daylight saving time, the ticks come as cronsim defines. A fixed local time
    that does not exist comes at the first moment after the gap. A fixed local time that exists twice comes only at the
    first of the two moments. If the field for the minute or for the hour begins with ``*``, the ticks follow real time.

    Attributes:
        expression: The five fields of ``cron(5)``: minute, hour, day of month, month, day of week. The values ``L``
            (last) and ``#`` (for example ``MON#2``, the second Monday of the month) are allowed, too.
        timezone: Name of an IANA time zone such as ``"Europe/Berlin"``. Default: ``"UTC"``.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "expression", " ".join(validate.name("expression", self.expression).split()))
        put(self, "timezone", validate.name("timezone", self.timezone))
        _zone(self.timezone)
        if len(self.expression.split()) != 5:
            raise InvalidArgumentError(
                f"expression must have five fields ({_FIELDS}), not {validate.shown(self.expression)}"
            )
        # This library needs cronsim only if a program uses cron expressions.
        from cronsim import CronSim, CronSimError

        try:
            comes = next(CronSim(self.expression, _REFERENCE), None)
        except CronSimError as error:
            raise InvalidArgumentError(
                f"expression {validate.shown(self.expression)} is not a cron expression: {error}; "
                f"the five fields are {_FIELDS}"
            ) from None
        if comes is None:
            raise InvalidArgumentError(f"expression {validate.shown(self.expression)} names a date that never comes")

    @classmethod
    def unchecked(cls, expression: str, timezone: str) -> Cron:
        """Return a record of stored values. The time zone may be unknown on this machine, and cronsim is not needed."""
        cron = object.__new__(cls)
        object.__setattr__(cron, "expression", expression)
        object.__setattr__(cron, "timezone", timezone)
        return cron

    def next_after(self, after_us: int) -> int | None:
        """Return the first tick after a time; ``None`` if that tick is after the year 9999."""
        return next(self._after(after_us), None)

    def newest(self, *, after_us: int, until_us: int, count: int) -> Sequence[int]:
        """Return the newest ticks after ``after_us`` and until ``until_us``, oldest first, at most ``count``.

        The cost depends on ``count``, and not on the length of the time: the search goes over a window that ends at
        ``until_us``, and doubles the window until enough ticks are in it.
        """
        window_us = 6 * _HOUR_US
        while True:
            start = max(after_us, until_us - window_us)
            ticks: deque[int] = deque(maxlen=count)
            for tick in self._after(start):
                if tick > until_us:
                    break
                ticks.append(tick)
            # Near a change of the time zone's offset, cronsim's first ticks can depend on the start of the search.
            if start == after_us or (len(ticks) == count and ticks[0] > start + 3 * _HOUR_US):
                return list(ticks)
            window_us *= 2

    def most_in(self, span_us: int) -> int:
        """Return an upper limit of the number of ticks in a span of time."""
        return span_us // 60_000_000 + 2

    def _after(self, after_us: int) -> Iterator[int]:
        from cronsim import CronSim, CronSimError

        last, zone = after_us, _zone(self.timezone)
        try:
            for moment in CronSim(self.expression, to_datetime(after_us).astimezone(zone)):
                # After a gap, several local times are one moment. Where local times repeat, cronsim can return a moment
                # before the start of the search.
                if (tick := to_us(moment)) > last:
                    yield tick
                    last = tick
        except (OverflowError, ValueError):
            return  # the next tick is after the year 9999
        except CronSimError as error:  # a process with another version of cronsim has set the schedule
            raise InvalidArgumentError(f"expression {validate.shown(self.expression)}: {error}") from None


@dataclass(frozen=True, slots=True)
class Every:
    """Ticks at the multiples of an interval since the Unix epoch (1970-01-01T00:00:00Z), by the wall clock.

    For example, ``Every(3600)`` ticks at each full hour in UTC. The constructor raises ``InvalidArgumentError`` if the
    interval is wrong.

    Attributes:
        interval: More than 0 s: seconds, or a ``timedelta``. The attribute holds seconds, whatever was given.
    """

    interval: Duration
    _us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        interval_us = validate.duration_us("interval", self.interval)
        if interval_us == 0:
            raise InvalidArgumentError(f"interval must be at least 0.000001 s, not {validate.shown(self.interval)}")
        object.__setattr__(self, "_us", interval_us)
        object.__setattr__(self, "interval", interval_us / 1e6)

    def next_after(self, after_us: int) -> int | None:
        """Return the first tick after a time; ``None`` if that tick is after the year 9999."""
        tick = (after_us // self._us + 1) * self._us
        return tick if tick <= validate.WALL_US_MAX else None

    def newest(self, *, after_us: int, until_us: int, count: int) -> Sequence[int]:
        """Return the newest ticks after ``after_us`` and until ``until_us``, oldest first, at most ``count``."""
        last = until_us // self._us
        first = max(after_us // self._us + 1, last - count + 1)
        return range(first * self._us, last * self._us + 1, self._us)

    def most_in(self, span_us: int) -> int:
        """Return an upper limit of the number of ticks in a span of time."""
        return span_us // self._us + 1


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """All information about one schedule. Times are aware ``datetime`` objects in UTC, by the wall clock.

    Attributes:
        schedule_id: Name of the schedule.
        when: The times of the ticks.
        task: The task that each tick adds.
        catch_up: The ticks that are added after a time in which no process looked for work.
        next_at: Time of the next tick; ``None`` while the schedule is paused. A time in the past means that no process
            has looked for work since then.
        last_at: Time of the latest tick that added an instance; ``None`` before the first.
        paused: True while the schedule is paused.
    """

    schedule_id: str
    when: Cron | Every
    task: NewTask
    catch_up: CatchUp
    next_at: datetime | None
    last_at: datetime | None
    paused: bool


def to_datetime(wall_us: int) -> datetime:
    """Convert microseconds since the Unix epoch to an aware ``datetime`` in UTC."""
    return _EPOCH + timedelta(microseconds=wall_us)


def to_us(moment: datetime) -> int:
    """Convert an aware ``datetime`` to microseconds since the Unix epoch."""
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND


def tick_name(schedule_id: str, tick_us: int) -> str:
    """Return the name of the instance that a tick adds. Only a tick within a second shows microseconds."""
    return f"{schedule_id}@{to_datetime(tick_us).replace(tzinfo=None).isoformat()}Z"


def tick_task(task: NewTask, tick_us: int) -> NewTask:
    """Return the task that a tick adds. The task is due at the tick, or at the end of a delay that begins then."""
    delay_us = 0 if task.delay is None else validate.duration_us("delay", task.delay)
    due_us = min(tick_us + delay_us, validate.WALL_US_MAX)
    return replace(task, delay=None, available_at=to_datetime(due_us))


def _zone(name: str) -> tzinfo:
    if name == "UTC":  # needs no zone data
        return UTC
    # Schedules in UTC, and programs without schedules, do not need this module.
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        pass
    if not available_timezones():
        raise InvalidArgumentError(
            f"timezone {validate.shown(name)} cannot be used, because this machine has no time zone data; "
            "install the tzdata package (pip install tzdata)"
        )
    raise InvalidArgumentError(
        f"timezone {validate.shown(name)} is unknown; give the name of an IANA time zone such as 'Europe/Berlin'"
    )
