"""Damage the files of a store at random, then call nearly every method of the store.

``python -m tests.fault.fuzz_files SEED [COUNT]`` tries ``COUNT`` consecutive seeds, the first of which is ``SEED``. The
default of ``COUNT`` is 1. The program fails at the first exception that is not a ``BackendError``, and at the first
seed that takes longer than ``SEED_S_MAX``. It prints each seed before it tries that seed."""

from __future__ import annotations

import faulthandler
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sqlite_claims import BackendError, NewTask, SqliteClaimStore, restore

from .mutations import sound, uses

SEED_S_MAX = 60
SUFFIXES = ("", "-wal", "-shm", "-sessions", "-bell")
# The -shm file is not damaged while a process uses it: after a truncation, SQLite's access to the mapped file raises
# SIGBUS, which ends the process.
SUFFIXES_IN_USE = ("", "-wal", "-sessions", "-bell")


def make_base(folder: Path) -> Path:
    """Make the files that a killed process with an open session leaves behind."""
    path = folder / "sound.db"
    sound(path)
    with SqliteClaimStore(path, durability="process") as store:
        session = store.open_session("s2")
        store.claim_available_tasks("s2", 2, 600, session=session)
        store.add_instance("in the wal", [NewTask(f"t{number}", bytes(500)) for number in range(40)])
        for suffix in SUFFIXES:
            shutil.copy(f"{path}{suffix}", f"{folder / 'base.db'}{suffix}")
    return folder / "base.db"


def damage(file: Path, choose: Random) -> None:
    """Damage one file in place: some bytes, some blocks, its end, or the whole file."""
    data = file.read_bytes() if file.exists() else b""
    with file.open("r+b" if file.exists() else "w+b") as opened:
        match choose.choice(("bytes", "bytes", "blocks", "cut", "append", "empty")):
            case "bytes" if data:
                # Damage the beginning of the file more often than other places, because the headers are there.
                end = choose.choice((32, 100, 4096, len(data)))
                for _ in range(choose.choice((1, 3, 50))):
                    opened.seek(choose.randrange(min(end, len(data))))
                    opened.write(bytes([choose.choice((0, 1, 0x7F, 0x80, 0xFF, choose.randrange(256)))]))
            case "blocks" if data:
                for _ in range(choose.randrange(1, 4)):
                    size = choose.choice((24, 512, 2048, 2072))
                    source = choose.randrange(len(data))
                    opened.seek(choose.randrange(0, len(data), min(size, len(data))))
                    opened.write(choose.choice((bytes(size), choose.randbytes(size), data[source : source + size])))
            case "cut":
                opened.truncate(choose.randrange(len(data) + 1))
            case "append":
                opened.seek(0, 2)
                opened.write(choose.choice((bytes(4096), choose.randbytes(4096), data[:4096])))
            case _:
                opened.truncate(0)


def try_seed(base: Path, folder: Path, seed: int) -> Counter[str]:
    """Damage copies of the files and open the copies as a store. Return the number of calls for each result or
    error."""
    choose = Random(seed)
    path = folder / "jobs.db"
    for suffix in SUFFIXES:
        shutil.copy(f"{base}{suffix}", f"{path}{suffix}")
    for suffix in choose.sample(SUFFIXES, choose.choice((1, 1, 2, 4))):
        damage(Path(f"{path}{suffix}"), choose)
    outcomes: Counter[str] = Counter()

    def attempt(call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except BackendError as error:
            outcomes[type(error).__name__] += 1
            return None
        outcomes["done"] += 1
        return result

    def read() -> None:
        with SqliteClaimStore(path, read_only=True) as store:
            attempt(store.check)

    def write() -> None:
        with SqliteClaimStore(path, durability="process", busy_timeout=0.1, use_c_core=choose.random() < 0.8) as store:
            damaged_at = choose.randrange(200)
            for number, call in enumerate(uses(store)):
                attempt(call)
                if number == damaged_at:
                    damage(Path(f"{path}{choose.choice(SUFFIXES_IN_USE)}"), choose)
            attempt(store.check)
            attempt(lambda: store.backup(folder / "backup.db"))
            attempt(lambda: restore(folder / "backup.db", folder / "restored.db"))

    if choose.random() < 0.5:
        attempt(read)
    for _ in range(2):
        attempt(write)
    return outcomes


def main(first_seed: int, count: int = 1) -> None:
    """Run ``try_seed`` for each seed and print the number of calls for each result or error."""
    logger = logging.getLogger("sqlite_claims")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder))
        for seed in range(first_seed, first_seed + count):
            print("python -m tests.fault.fuzz_files", seed, flush=True)
            faulthandler.dump_traceback_later(SEED_S_MAX, exit=True)
            used = Path(folder, "used")
            used.mkdir()
            total += try_seed(base, used, seed)
            shutil.rmtree(used)
    faulthandler.cancel_dump_traceback_later()
    print(f"{count} seeds: {dict(total)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
