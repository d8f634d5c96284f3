"""The clocks that a store reads, in integer microseconds. Tests use a ``ManualClock`` instead.

A store reads three clocks:

* The *boot* clock orders tasks and ends leases. All processes of one boot share this clock, and changes of the wall
  clock do not affect it.
* The *awake* clock stops while the machine sleeps. The boot clock minus the awake clock is the time slept, by which
  leases are prolonged.
* The *wall* clock is used only for times that are shown to people, for pruning by age and for ``available_at``.

In a Linux time namespace, the boot clock and the awake clock are shifted. A store subtracts this shift, so that
processes in different namespaces can share one file.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The boot id that is used if the machine's boot id cannot be read. With this boot id, a reboot is detected only if the
# boot clock shows an earlier time than before the reboot.
UNKNOWN_BOOT = sys.platform
_PROCESS = Path("/proc/self")
# The kernel's name for the initial time namespace. In this namespace, the clocks are not shifted.
_MACHINE = "time:[4026531834]"


def _boot_clock() -> int:
    """Return ``CLOCK_BOOTTIME``, or the monotonic clock on systems and in sandboxes without ``CLOCK_BOOTTIME``."""
    try:
        clock = time.CLOCK_BOOTTIME
        time.clock_gettime_ns(clock)
    except (AttributeError, OSError):
        return time.CLOCK_MONOTONIC
    return clock


_BOOT_CLOCK = _boot_clock()


class Clock(Protocol):
    """The source of a store's times."""

    def boot_us(self) -> int:
        """Return the microseconds since the machine started, including sleep."""

    def awake_us(self) -> int:
        """Return the microseconds on a clock that runs only while the machine is awake."""

    def wall_us(self) -> int:
        """Return the microseconds since the Unix epoch, by the wall clock of the machine."""

    def boot_id(self) -> str:
        """Return a name of this boot of the machine. The name changes at each boot. May raise ``OSError``."""


class SystemClock:
    """The machine's own clocks."""

    _boot_id = ""
    _namespace = _MACHINE
    _awake_ahead_us = _boot_ahead_us = 0

    def __init__(self) -> None:
        self.enter_namespace()

    def enter_namespace(self) -> bool:
        """Read by how much the clocks of this process's time namespace are ahead of the machine's clocks.

        After a fork, the child may be in a different time namespace than the parent. Return ``False`` if the kernel
        does not show the offsets of the namespace, and ``True`` otherwise.
        """
        namespace = _namespace("time")
        if namespace == self._namespace:
            return True
        awake = boot = 0
        if namespace not in ("", _MACHINE):
            # The kernel shows only the offsets of the namespace to which future children of this process will belong.
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
        except OSError:  # for example too many open files, which must not count as a new boot
            if not self._boot_id:
                raise
        return self._boot_id


def _namespace(name: str) -> str:
    try:
        return os.readlink(_PROCESS / "ns" / name)
    except OSError:
        return ""  # the kernel has no time namespaces, or there is no /proc


def _offsets(table: bytes) -> tuple[int, int]:
    """Return the offsets of the monotonic clock and of the boot clock, in microseconds."""
    monotonic, boottime = (line.split() for line in table.splitlines())
    awake, boot = (int(s) * 1_000_000 + int(ns) // 1000 for _, s, ns in (monotonic, boottime))
    return awake, (boot if _BOOT_CLOCK != time.CLOCK_MONOTONIC else awake)


SYSTEM_CLOCK = SystemClock()
