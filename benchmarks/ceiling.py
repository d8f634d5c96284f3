"""Builds and calls ``ceiling.c``, the C baseline: the store's tables and statements on apsw's SQLite library."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import apsw

from sqlite_claims.sqlite.statements import sql

_SOURCE = Path(__file__).with_name("ceiling.c")
# The number of -wal frames after which a checkpoint runs. The checkpoint runs within a commit, because the baseline has
# no thread for checkpoints. This checkpoint runs about as often as a checkpoint of the store.
_CHECKPOINT_FRAMES = 4000
_STATEMENTS = [
    sql.begin_write,
    sql.commit,
    sql.sweep_state,
    sql.scan_head,
    sql.task_found,
    sql.claim_one,
    sql.complete_plain,
    sql.count_completed,
    sql.count_ended,
    sql.meta_token_floor,
    sql.newest_task,
    sql.instance_by_name,
    sql.add_task,
    sql.add_input,
    sql.count_added,
]


def has_compiler() -> bool:
    """Return whether ``ceiling.c`` can be built on this machine. The C core has the same requirements."""
    compiler = os.environ.get("CC", "cc").split()[0]
    return shutil.which(compiler) is not None and any(
        Path(folder, "sqlite3ext.h").exists()
        for folder in ("/usr/include", "/usr/local/include", "/opt/homebrew/include")
    )


def build(folder: Path) -> Path:
    """Compile ``ceiling.c`` into ``folder``, unless the library exists already. Return the library's path."""
    target = folder / "ceiling.so"
    if not target.exists():
        compile = [*os.environ.get("CC", "cc").split(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
        command = [*compile, "-shared", "-fPIC", "-fvisibility=hidden", "-o", str(target), str(_SOURCE)]
        subprocess.run(command, check=True)
    return target


class Ceiling:
    """The C loops on the file of a store. No store object has to be open."""

    def __init__(self, library: Path, path: Path) -> None:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        anchor = connection.execute("SELECT anchor FROM claims_meta").fetchall()[0][0]
        lane = connection.execute("SELECT lane FROM claims_tasks ORDER BY id LIMIT 1").fetchall()[0][0]
        # Load the library before SQLite loads the extension. Otherwise the library would be unloaded when this
        # connection is closed.
        self._lib = ctypes.CDLL(str(library))
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
        connection.load_extension(str(library), "ceiling_init")
        connection.close()
        self._lib.ceiling_open.restype = ctypes.c_void_p
        self._lib.ceiling_open.argtypes = [
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int,
        ]
        self._lib.ceiling_message.restype = ctypes.c_char_p
        texts = (ctypes.c_char_p * len(_STATEMENTS))(*(text.encode() for text in _STATEMENTS))
        handle = self._lib.ceiling_open(str(path).encode(), texts, anchor, lane, _CHECKPOINT_FRAMES)
        if not handle:
            raise RuntimeError(f"{path}: the C yardstick cannot open it")
        self._handle = ctypes.c_void_p(handle)

    def cycles(self, count: int, batch: int = 1) -> None:
        """Claim and complete ``batch`` tasks, ``count`` times."""
        self._check(self._lib.ceiling_cycles(self._handle, count, batch))

    def add(self, count: int, payload: bytes = b"") -> None:
        """Add ``count`` tasks in one transaction."""
        self._check(self._lib.ceiling_add(self._handle, count, payload, len(payload)))

    def _check(self, code: int) -> None:
        if code:
            raise RuntimeError(
                f"the C yardstick failed with {code}: {self._lib.ceiling_message(self._handle).decode()}"
            )

    def close(self) -> None:
        """Close the file."""
        self._lib.ceiling_close(self._handle)
