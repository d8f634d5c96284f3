"""The C core: loading it, once a process, and the scan that it does.

The core is a Python module and an SQLite extension in one file, because apsw's SQLite can be reached no other way: it
hands its functions to the extensions that it loads. C returns codes; the exceptions are made here.
"""

from __future__ import annotations

import os
import threading
from array import array
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import apsw

from .scanner import ScanStatements, checked_aging

if TYPE_CHECKING:
    from ._core import FFI, Lib

_loading = threading.Lock()
_core: tuple[Lib, FFI] | None = None
_missing: str | None = None  # why it could not be loaded


def load() -> tuple[Lib, FFI] | None:
    """The core's functions and its cffi, or ``None`` where it can't be had: ``why_missing`` then tells why."""
    global _core, _missing
    with _loading:
        if _core is None and _missing is None:
            try:
                _core = _load()
            except (ImportError, apsw.Error) as error:
                _missing = str(error)
        return _core


def vfs() -> str | None:
    """The VFS that lets the core gather the writes of a commit; ``None``: the system's own, as is wanted by
    ``SQLITE_CLAIMS_PLAIN_WAL=1``."""
    loaded = load()
    if loaded is None or os.environ.get("SQLITE_CLAIMS_PLAIN_WAL") == "1":
        return None
    lib, ffi = loaded
    name = lib.claims_wal_vfs()
    return ffi.string(name).decode() if name else None


def is_built() -> bool:
    """Whether the core was built when the package was installed."""
    return find_spec(f"{__package__}._core") is not None


def why_missing() -> str:
    """Why the core is not there; empty if it is, or has not been asked for."""
    return _missing or ""


def _load() -> tuple[Lib, FFI]:
    from . import _core

    connection = apsw.Connection(":memory:")
    try:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
        connection.load_extension(_core.__file__, "claims_core_init")
    finally:
        connection.close()
    if not _core.lib.claims_core_loaded():
        raise ImportError(f"{_core.__file__} was loaded twice, as two objects")
    return _core.lib, _core.ffi


class CoreScanner:
    """A ``Scanner`` in C."""

    __slots__ = ("_connection", "_ids", "_ids_len", "_lanes", "_lanes_seen", "_lib_ffi", "_pointer", "_scan")

    def __init__(self, core: tuple[Lib, FFI], connection: apsw.Connection, statements: ScanStatements) -> None:
        lib, ffi = self._lib_ffi = core
        self._connection = connection
        self._pointer = connection.sqlite3_pointer()
        self._ids = ffi.new("int64_t **")
        self._ids_len = ffi.new("int64_t *")
        self._lanes: array[int] | None = None
        self._lanes_seen: Any = None
        made = ffi.new("claims_scan **")
        code = lib.claims_scan_open(
            ffi.cast("sqlite3 *", self._pointer),
            statements.head.encode(),
            statements.range.encode(),
            statements.instance_state.encode(),
            made,
        )
        if code:
            self._fail(code)

        # For who forgets to close. It holds the connection, which can't be closed before the statements are gone.
        def destructor(scan: Any, _: apsw.Connection = connection) -> None:
            lib.claims_scan_close(scan)

        self._scan = ffi.gc(made[0], destructor)

    def ready_ids(self, lanes: array[int], now: int, aging: int | None, limit: int, moving: bool) -> array[int]:
        if aging is not None:
            checked_aging(aging)
        # Raises if the connection is closed. Statements of another one must not be stepped under this one's lock.
        if self._connection.sqlite3_pointer() != self._pointer or self._scan is None:
            raise apsw.ConnectionClosedError("the scanner is closed")
        lib, ffi = self._lib_ffi
        if lanes is not self._lanes:  # the same array serves many scans
            self._lanes = lanes
            self._lanes_seen = ffi.from_buffer("int64_t[]", lanes)
        try:
            code = lib.claims_scan_ready(
                self._scan,
                self._lanes_seen,
                len(lanes),
                now,
                aging or 0,
                limit,
                moving,
                self._ids,
                self._ids_len,
            )
        except SystemError as error:
            # A signal handler raised while SQLite asked the connection's authorizer, which is in Python.
            raise error.__cause__ or error from None
        if code:
            self._fail(code)
        ids: array[int] = array("q")
        if length := self._ids_len[0]:
            ids.frombytes(ffi.buffer(self._ids[0], length * 8))
        return ids

    def close(self) -> None:
        scan, self._scan = self._scan, None
        if scan is not None:
            self._lib_ffi[1].release(scan)

    def _fail(self, code: int) -> NoReturn:
        lib, ffi = self._lib_ffi
        message = ffi.string(lib.claims_core_message(ffi.cast("sqlite3 *", self._pointer), code)).decode()
        error = apsw.exception_for(apsw.SQLITE_MISUSE if code < 0 else code)
        error.args = (message,)
        raise error
