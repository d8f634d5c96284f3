"""The part of ``check()`` that examines the files themselves, not their content."""

from __future__ import annotations

import glob
import os
import sys

from ..connection import descriptors_max
from ..error_translation import translate


def other_driver_findings(path: str) -> list[str]:
    """Return a finding if the standard library's driver seems to have the file open in this process. When that driver
    closes the file, the locks of the store's connections are dropped. This test works only on a system whose kernel
    lists a process's descriptors."""
    if "_sqlite3" not in sys.modules:
        return []
    own = os.stat(path)
    number = 0
    for entry in glob.glob("/proc/self/fd/*"):
        try:
            status = os.stat(entry)
        except OSError:
            continue
        number += (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino)
    if number <= descriptors_max(path):
        return []
    finding = (
        f"{path}: this process has {number} descriptors of the file, more than its stores need. If the standard "
        "library's sqlite3 has also opened the file, closing that connection drops the locks of the store; use a "
        "separate file for the store"
    )
    return [finding]


def side_file_findings(path: str) -> list[str]:
    """Return findings about the side files, and about additional names (hard links) of the database file."""
    findings: list[str] = []
    status = os.stat(path)
    mode = status.st_mode & 0o777
    for suffix in ("-wal", "-shm", "-sessions", "-bell", "-reserve"):
        try:
            own = os.stat(path + suffix).st_mode & 0o777
        except FileNotFoundError:
            continue
        if own != mode:
            findings.append(f"{path}{suffix}: permissions {own:o} differ from the database's {mode:o}")
    if status.st_nlink > 1:
        findings.append(
            f"{path}: has {status.st_nlink} names (hard links), each with a different -wal: "
            "using two names damages the file"
        )
    if has_journal(path):
        findings.append(f"{path}-journal: a rollback journal exists, although the database is in WAL mode")
    return findings


def has_journal(path: str) -> bool:
    """Return whether there is a rollback journal that SQLite would use. SQLite ignores a journal that begins with a
    zero byte, because the journal's transaction has ended, or because a power cut left the journal incomplete."""
    try:
        with open(f"{path}-journal", "rb") as journal:
            return journal.read(1) not in (b"", b"\0")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise translate(error, path) from error
