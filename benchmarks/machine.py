"""Facts about the machine and the software that influence the figures."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sysconfig
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import apsw

from sqlite_claims.sqlite.files.paths import file_system
from sqlite_claims.sqlite.scan import core_available

ROOT = Path(__file__).parents[1]
_SYNCS = 100
_COMMITS = 500


def facts(folder: Path) -> dict[str, Any]:
    """Return the commit, the software versions and the machine, for the results. ``folder`` has the stores."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--", "sqlite_claims", "csrc")),
        "sqlite_claims": _version("sqlite-claims"),
        "c_core": core_available(),
        "python": platform.python_version(),
        "python_optimized": "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")),
        "apsw": apsw.apsw_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "file_system": file_system(str(folder)),
        "fdatasync_us": round(fdatasync_us(folder)),
        "commit_us": round(commit_us(folder), 1),
    }


def fdatasync_us(folder: Path) -> float:
    """Return the median time in which the disk syncs 4 KiB that are appended to a file."""
    path = folder / "synced"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno()) if not hasattr(os, "fdatasync") else os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(taken) * 1e6


def commit_us(folder: Path) -> float:
    """Return the median time of a minimal commit without a sync: it changes one row of a file in WAL mode."""
    path = folder / "committed.db"
    taken = []
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "NORMAL")
    connection.execute("CREATE TABLE number (value INTEGER); INSERT INTO number VALUES (0)")
    for value in range(_COMMITS):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE number SET value = ?", (value,))
        connection.execute("COMMIT")
        taken.append(time.perf_counter() - began)
    connection.close()
    path.unlink()
    return statistics.median(taken) * 1e6


def _git(*args: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
