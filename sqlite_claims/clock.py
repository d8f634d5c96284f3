"""The clocks that a store reads, all in integer microseconds, behind one seam that tests move.

Three clocks, because each answers another question:

* the *boot* clock orders tasks and ends leases: all processes of one boot share it and no clock step moves it;
* the *awake* clock stands still while the machine sleeps: what the boot clock has gained over it is sleep, by
  which leases are prolonged;
* the *wall* clock is for people, for pruning by age and for ``available_at`` alone.

A time namespace shifts the first two for its processes. They are read as the machine reads them, so that processes of
several namespaces agree on one file.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Used if there is no boot id: a reboot is then noticed only if the boot clock has gone back.
UNKNOWN_BOOT = sys.platform
_PROCESS = Path("/proc/self")
# The number that the kernel gives the time namespace of the machine itself.
_MACHINE = "time:[4026531834]"


def _boot_clock() -> int:
    """``CLOCK_BOOTTIME`` exists only on Linux, and not in some sandboxes; the monotonic clock is used there."""
    try:
        clock = time.CLOCK_BOOTTIME
        time.clock_gettime_ns(clock)
    except (AttributeError, OSError):
        return time.CLOCK_MONOTONIC
    return clock


_BOOT_CLOCK = _boot_clock()


class Clock(Protocol):
    """Where a store takes its time from."""

    def boot_us(self) -> int:
        """Microseconds since the machine started, sleep included."""

    def awake_us(self) -> int:
        """Microseconds on a clock that only runs while the machine is awake."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as the machine believes now."""

    def boot_id(self) -> str:
        """A name for this boot of the machine; another after each start. May raise ``OSError``."""


class SystemClock:
    """The machine's own clocks."""

    _boot_id = ""
    _namespace = _MACHINE
    _awake_ahead_us = _boot_ahead_us = 0

    def __init__(self) -> None:
        self.enter_namespace()

    def enter_namespace(self) -> bool:
        """Find out by how much the clocks of this process's time namespace are ahead of the machine's. A process that
        forks may have its child in another one. ``False`` where the kernel doesn't tell."""
        namespace = _namespace("time")
        if namespace == self._namespace:
            return True
        awake = boot = 0
        if namespace not in ("", _MACHINE):
            # The offsets that can be read are those of the namespace that the process's children will be in.
            if namespace != _namespace("time_for_children"):
                return False
            try:
                awake, boot = _offsets((_PROCESS / "timens_offsets").read_bytes())
            except (OSError, ValueError):
                return False
        self._awake_ahead_us, self._boot_ahead_us, self._namespace = awake, boot, namespace
        return True

    def boot_us(self) -> int:
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1000 - self._boot_ahead_us

    def awake_us(self) -> int:
        return time.monotonic_ns() // 1000 - self._awake_ahead_us

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def boot_id(self) -> str:
        try:
            self._boot_id = _BOOT_ID.read_bytes().strip().decode("ascii")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return UNKNOWN_BOOT
        except OSError:  # too many open files, for one: that must not look like another boot
            if not self._boot_id:
                raise
        return self._boot_id


def _namespace(name: str) -> str:
    try:
        return os.readlink(_PROCESS / "ns" / name)
    except OSError:
        return ""  # a kernel without time namespaces, or no /proc


def _offsets(table: bytes) -> tuple[int, int]:
    """The offsets of the monotonic and of the boot clock, in microseconds."""
    monotonic, boottime = (line.split() for line in table.splitlines())
    awake, boot = (int(s) * 1_000_000 + int(ns) // 1000 for _, s, ns in (monotonic, boottime))
    return awake, (boot if _BOOT_CLOCK != time.CLOCK_MONOTONIC else awake)


SYSTEM_CLOCK = SystemClock()
