"""Rebuild the disk as a power cut leaves it, from the file operations of a process that ``recorder.c`` has recorded.

Synced data is on the disk. Each sector of 512 bytes that is not synced may or may not have reached the disk,
independently of the order of the writes. A change of a name (a file was created, removed or renamed) may be missing on
the disk until the folder of the file is synced. Data whose sync failed may be missing, even if a later sync succeeds.
The simulation makes one more assumption, as SQLite does: a write to one sector does not change the sectors next to it.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from textwrap import dedent

SECTOR = 512
ACKNOWLEDGED = "acknowledged"
"""The file in which the recorded program notes the acknowledged results. This file is not part of the simulated
disk."""
_HEAD = struct.Struct("=5q")


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded file operation. See ``recorder.c``."""

    kind: str
    inode: int
    offset: int
    name: str
    data: bytes


def build_preloaded(name: str, folder: Path) -> Path | None:
    """Compile a library that a program loads before all other libraries. Return ``None`` where there is no C
    compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    made = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", made, source, "-ldl"], check=True)
    return made


def record(recorder: Path, folder: Path, program: str, *args: object, fail_every: int = 0) -> list[Record]:
    """Run a Python program on an empty folder and return its file operations. If ``fail_every`` is not 0, every
    ``fail_every``-th sync fails."""
    disk, log = folder / "disk", folder / "log"
    disk.mkdir()
    environment = os.environ | {"LD_PRELOAD": str(recorder), "RECORD_FOLDER": str(disk), "RECORD_LOG": str(log)}
    environment["RECORD_FAIL_EVERY"] = str(fail_every)
    subprocess.run([sys.executable, "-c", dedent(program), disk, *map(str, args)], env=environment, check=True)
    data = log.read_bytes()
    records, at = [], 0
    while at < len(data):
        kind, inode, offset, name_len, data_len = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + name_len].decode()
        at += name_len
        records.append(Record(chr(kind), inode, offset, name, data[at : at + data_len]))
        at += data_len
    return records


@dataclass
class _File:
    """All operations on one file, even if the file was renamed."""

    done: list[tuple[int, Record]] = field(default_factory=list)
    synced: int = 0  # all records before this index are on the disk
    # exceptions: ranges of earlier records that may be missing on the disk
    doubtful: list[tuple[int, int]] = field(default_factory=list)

    def is_durable(self, place: int) -> bool:
        return place < self.synced and not any(begin <= place < end for begin, end in self.doubtful)

    def content(self, lasts: Callable[[], bool], fill: Callable[[int], bytes]) -> bytes:
        data = bytearray()
        for place, record in self.done:
            durable = self.is_durable(place)
            if record.kind == "t":
                if durable or lasts():
                    _resize(data, record.offset, fill)
                continue
            at, end = record.offset, record.offset + len(record.data)
            while at < end:
                until = min(end, (at // SECTOR + 1) * SECTOR)
                if durable or lasts():
                    if until > len(data):
                        _resize(data, until, fill)
                    data[at:until] = record.data[at - record.offset : until - record.offset]
                at = until
        return bytes(data)


def _resize(data: bytearray, size: int, fill: Callable[[int], bytes]) -> None:
    if size < len(data):
        del data[size:]
    else:
        data += fill(size - len(data))


def cut_power(records: list[Record], moment: int, random: Random) -> tuple[dict[str, bytes], list[str]]:
    """Cut the power after the first ``moment`` records. Return the files that remain, by name, and the lines that the
    program had acknowledged by then."""
    share = random.choice([0.0, 0.1, 0.5, 0.9, 1.0])

    def lasts() -> bool:
        return random.random() < share

    files: dict[int, _File] = {}
    folder: list[tuple[int, Record, _File | None]] = []
    folder_synced = 0
    begun: dict[int, int] = {}
    told = b""
    for place, record in enumerate(records[:moment]):
        if record.name == ACKNOWLEDGED:
            told += record.data
        elif record.kind == "c":
            files[record.inode] = _File()
            folder.append((place, record, files[record.inode]))
        elif record.kind in "ur":
            folder.append((place, record, None))
        elif record.kind == "b":
            begun[record.offset] = place
        elif record.kind == "f":
            files[record.inode].doubtful.append((files[record.inode].synced, begun[record.offset]))
        elif record.kind == "e" and record.name == "":
            folder_synced = max(folder_synced, begun[record.offset])
        elif record.kind == "e":
            files[record.inode].synced = max(files[record.inode].synced, begun[record.offset])
        else:
            files[record.inode].done.append((place, record))

    names: dict[str, _File] = {}
    for place, record, made in folder:
        if place >= folder_synced and not lasts():
            continue
        if made is not None:
            names[record.name] = made
        elif (file := names.pop(record.name, None)) is not None and record.kind == "r":
            names[record.data.decode()] = file
    # If a file grew without a write, the new part contains zeros or random bytes. The random bytes simulate the
    # contents of deleted files.
    fill: Callable[[int], bytes] = random.randbytes if random.random() < 0.5 else bytes
    return {name: file.content(lasts, fill) for name, file in names.items()}, told.decode().splitlines()
