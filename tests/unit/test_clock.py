"""The machine's clocks, and the clocks that replace them on platforms without one of them."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import SqliteClaimStore, StoreUnavailableError
from sqlite_claims import clock as clocks
from sqlite_claims.clock import SYSTEM_CLOCK, UNKNOWN_BOOT, SystemClock

OFFSETS = b"monotonic         1000         500000000\nboottime         -2000         250000000\n"


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that the library uses in place of this process's /proc folder. The test writes the files in it."""
    (tmp_path / "ns").mkdir()
    monkeypatch.setattr(clocks, "_PROCESS", tmp_path)
    return tmp_path


def be_in(process: Path, namespace: str, children: str | None = None) -> None:
    for name, target in (("time", namespace), ("time_for_children", children or namespace)):
        (process / "ns" / name).unlink(missing_ok=True)
        (process / "ns" / name).symlink_to(target)


def ahead(clock: SystemClock) -> tuple[float, float]:
    """Return the number of seconds by which the awake clock and the boot clock of this process are ahead of the given
    clock. The numbers are rounded to 100 s."""
    awake = time.monotonic_ns() / 1e3 - clock.awake_us()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e3 - clock.boot_us()
    return round(awake / 1e6, -2), round(boot / 1e6, -2)


def test_the_offsets_of_a_time_namespace_are_taken_off(process: Path) -> None:
    (process / "timens_offsets").write_bytes(OFFSETS)
    clock = SystemClock()
    assert ahead(clock) == (0, 0)
    be_in(process, "time:[1]")
    assert clock.enter_namespace()
    assert ahead(clock) == (1000, -2000)
    assert clocks._offsets(OFFSETS) == (1_000_500_000, -1_999_750_000)
    be_in(process, "time:[4026531834]", "time:[1]")
    assert clock.enter_namespace()
    assert ahead(clock) == (0, 0)


def test_a_namespace_once_known_stays_so_when_the_children_are_to_be_in_another(process: Path) -> None:
    (process / "timens_offsets").write_bytes(OFFSETS)
    be_in(process, "time:[1]")
    clock = SystemClock()
    be_in(process, "time:[1]", "time:[2]")
    (process / "timens_offsets").unlink()
    assert clock.enter_namespace()
    assert ahead(clock) == (1000, -2000)


@pytest.mark.parametrize("children", ["time:[1]", "time:[2]"], ids=["no offsets", "those of another"])
def test_a_namespace_whose_offsets_are_not_told_is_refused(process: Path, tmp_path: Path, children: str) -> None:
    be_in(process, "time:[1]", children)
    assert not SystemClock().enter_namespace()
    with pytest.raises(StoreUnavailableError, match="time namespace"):
        SqliteClaimStore(tmp_path / "jobs.db")
    assert not (tmp_path / "jobs.db").exists()


def test_without_the_boot_clock_the_monotonic_one_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clocks._boot_clock() == time.CLOCK_BOOTTIME

    def fail(which: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument", str(which))

    monkeypatch.setattr(time, "clock_gettime_ns", fail)
    assert clocks._boot_clock() == time.CLOCK_MONOTONIC
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert clocks._boot_clock() == time.CLOCK_MONOTONIC


def test_a_boot_without_a_name_is_told_from_one_whose_name_can_not_be_read_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = SystemClock()
    known = clock.boot_id()
    assert known not in ("", UNKNOWN_BOOT)

    def fail(*_: Any) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert clock.boot_id() == known
    with pytest.raises(OSError, match="Too many"):
        SystemClock().boot_id()
    monkeypatch.setattr(SYSTEM_CLOCK, "_boot_id", "")
    with pytest.raises(StoreUnavailableError, match="Too many"):
        SqliteClaimStore(tmp_path / "jobs.db")
    monkeypatch.undo()
    monkeypatch.setattr(clocks, "_BOOT_ID", tmp_path / "boot_id")
    assert SystemClock().boot_id() == UNKNOWN_BOOT
