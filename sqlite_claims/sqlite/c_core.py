"""The interface to the C core. This module loads the core once per process, and wraps each function of the core. No
other module calls C functions.

The core is a Python module and an SQLite extension in one file, because the SQLite library in apsw passes its API
functions only to extensions that this library loads. The C functions return result codes. This module checks the codes
and raises the exceptions.
"""

from __future__ import annotations

import os
import threading
from array import array
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import apsw

if TYPE_CHECKING:
    from ._core import FFI, Lib

_loading = threading.Lock()
_core: CCore | None = None
_missing: str | None = None  # the reason why the core could not be loaded


def load() -> CCore | None:
    """Return the core, or ``None`` if the core can't be loaded. ``why_missing`` then returns the reason."""
    global _core, _missing
    with _loading:
        if _core is None and _missing is None:
            try:
                _core = _load()
            except (ImportError, apsw.Error) as error:
                _missing = str(error)
        return _core


def is_built() -> bool:
    """Return whether the core was built when the package was installed."""
    return find_spec(f"{__package__}._core") is not None


def why_missing() -> str:
    """Return why the core could not be loaded; empty if the core was loaded, or if ``load`` was never called."""
    return _missing or ""


def vfs() -> str | None:
    """Return the name of the core's VFS, which gathers the writes of a commit. Return ``None`` if SQLite's default VFS
    must be used. SQLite's VFS must be used if the core or the core's VFS is not available, or if
    ``SQLITE_CLAIMS_PLAIN_WAL=1`` is set."""
    core = load()
    if core is None or os.environ.get("SQLITE_CLAIMS_PLAIN_WAL") == "1":
        return None
    name = core.lib.claims_wal_vfs()
    return core.ffi.string(name).decode() if name else None


def _load() -> CCore:
    from . import _core

    connection = apsw.Connection(":memory:")
    try:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1)
        connection.load_extension(_core.__file__, "claims_core_init")
    finally:
        connection.close()
    if not _core.lib.claims_core_loaded():
        raise ImportError(f"{_core.__file__} was loaded twice, as two separate modules")
    return CCore(_core.lib, _core.ffi)


class CCore:
    """The loaded core."""

    __slots__ = ("ffi", "lib")

    def __init__(self, lib: Lib, ffi: FFI) -> None:
        self.lib = lib
        self.ffi = ffi

    def pointer(self, connection: apsw.Connection) -> Any:
        """Return the ``sqlite3 *`` of an open connection."""
        return self.ffi.cast("sqlite3 *", connection.sqlite3_pointer())

    def install_waiter(self, connection: apsw.Connection, bell: CBell, seconds: float) -> BusyWaiter:
        """Make the connection wait on the doorbell, instead of polling, while another connection holds the write lock.
        The caller must keep a reference to the waiter for as long as the connection is open."""
        waiter = BusyWaiter(self, bell, seconds)
        self.check(connection, self.lib.claims_waiter_install(self.pointer(connection), waiter.struct))
        return waiter

    def count_frames(self, connection: apsw.Connection) -> array[int]:
        """Set the connection's WAL hook to a C function. Return an array of one number. At each commit, the hook stores
        the number of frames in the -wal file in the array. The caller must keep a reference to the array for as long as
        the connection is open."""
        frames = array("i", [0])
        code = self.lib.claims_frames_install(self.pointer(connection), self.ffi.from_buffer("int[]", frames))
        self.check(connection, code)
        return frames

    def gather_writes(self, connection: apsw.Connection, page_size: int, *, grows: bool) -> bool:
        """Gather the writes of each commit into one write to the -wal file. The connection must use the core's VFS.

        If ``grows`` is true, also extend the -wal file in advance, which makes a sync cheaper. Return ``False``, and
        change nothing, if the connection already has a commit or rollback hook.
        """
        code = self.lib.claims_wal_install(self.pointer(connection), page_size, grows)
        if code == self.lib.CLAIMS_HOOKED:
            return False
        self.check(connection, code)
        return True

    def check(self, connection: apsw.Connection, code: int) -> None:
        """Raise apsw's exception for a result code, unless the code is 0."""
        if code:
            self.fail(self.pointer(connection), code)

    def fail(self, pointer: Any, code: int) -> NoReturn:
        """Raise apsw's exception for a result code that is not 0. ``pointer``: the connection's ``sqlite3 *``."""
        message = self.ffi.string(self.lib.claims_core_message(pointer, code)).decode()
        error = apsw.exception_for(apsw.SQLITE_MISUSE if code < 0 else code)
        error.args = (message,)
        raise error


class CBell:
    """A memory-mapped doorbell file with counters. A process raises a counter to wake processes that wait for that
    counter.

    The file is unmapped when no reference to this object is left, because a waiting thread or a busy handler may
    outlive the store.
    """

    def __init__(self, core: CCore, descriptor: int) -> None:
        """Map the file of ``descriptor``, which must have the size of a doorbell file. Raise ``OSError`` if the file
        can't be mapped."""
        self.core, self._lib = core, core.lib
        self._ring = core.lib.claims_bell_ring
        bell = core.ffi.new("claims_bell **")
        code = core.lib.claims_bell_open(descriptor, bell)
        if code:
            raise OSError(code, os.strerror(code))
        self.struct = core.ffi.gc(bell[0], core.lib.claims_bell_close)

    def is_lost(self) -> bool:
        """Return whether the file was truncated while it was mapped. A doorbell in a truncated file wakes no
        process."""
        return bool(self._lib.claims_bell_is_lost(self.struct))

    def read(self, which: int) -> int:
        """Return the value of a counter."""
        return self._lib.claims_bell_read(self.struct, which)

    def ring(self, which: int) -> None:
        """Raise a counter, and wake all processes and threads that wait for this counter."""
        self._ring(self.struct, which)

    def sleep(self, which: int, seen: int, microseconds: int) -> None:
        """Sleep until a counter's value differs from ``seen``, for at most ``microseconds``."""
        self._lib.claims_bell_wait(self.struct, which, seen, microseconds)


class BusyWaiter:
    """A busy handler in C, with which a connection waits on a doorbell for the write lock."""

    __slots__ = ("bell", "struct")

    def __init__(self, core: CCore, bell: CBell, seconds: float) -> None:
        self.bell = bell
        self.struct = core.ffi.new("claims_waiter *", [bell.struct, round(seconds * 1e6), 0, 0])

    def set_timeout(self, seconds: float) -> None:
        """Set the longest time for which the connection waits for the write lock."""
        self.struct.us_max = round(seconds * 1e6)

    def set_bell(self, bell: CBell) -> None:
        """Replace the doorbell that the connection waits on."""
        self.struct.bell = bell.struct
        self.bell = bell


class CScan:
    """The scan in C of one connection, with its prepared statements and buffers."""

    __slots__ = ("_connection", "_core", "_ids", "_ids_len", "_lanes", "_lanes_pointer", "_pointer", "_scan")

    def __init__(self, core: CCore, connection: apsw.Connection, head: str, range: str, instance_state: str) -> None:
        """Prepare the three statements of the scan."""
        lib, ffi = core.lib, core.ffi
        self._core = core
        self._connection = connection
        self._pointer = connection.sqlite3_pointer()
        self._ids = ffi.new("int64_t **")
        self._ids_len = ffi.new("int64_t *")
        self._lanes: array[int] | None = None
        self._lanes_pointer: Any = None
        scan = ffi.new("claims_scan **")
        pointer = core.pointer(connection)
        code = lib.claims_scan_open(pointer, head.encode(), range.encode(), instance_state.encode(), scan)
        core.check(connection, code)

        # This function runs if close() was never called. The default value of the parameter keeps a reference to the
        # connection, because the connection must not be closed before the statements are finalized.
        def destructor(scan: Any, _: apsw.Connection = connection) -> None:
            lib.claims_scan_close(scan)

        self._scan = ffi.gc(scan[0], destructor)

    def ready_ids(self, lanes: array[int], now: int, aging: int, limit: int, moving: bool) -> array[int]:
        """Return the ids of tasks that may be claimed; see ``Scanner.ready_ids``. ``aging``: the aging interval; 0 for
        no aging."""
        # sqlite3_pointer() raises an exception if the connection is closed. If the pointer differs, the statements
        # belong to a different SQLite connection, and this thread possibly doesn't hold the lock of that connection.
        if self._connection.sqlite3_pointer() != self._pointer or self._scan is None:
            raise apsw.ConnectionClosedError("the scanner is closed")
        core = self._core
        if lanes is not self._lanes:  # most scans use the array of the previous scan
            self._lanes = lanes
            self._lanes_pointer = core.ffi.from_buffer("int64_t[]", lanes)
        try:
            code = core.lib.claims_scan_ready(
                self._scan, self._lanes_pointer, len(lanes), now, aging, limit, moving, self._ids, self._ids_len
            )
        except SystemError as error:
            # A signal handler raised an exception while SQLite called the connection's authorizer, which is a Python
            # function.
            raise error.__cause__ or error from None
        if code:
            core.fail(core.ffi.cast("sqlite3 *", self._pointer), code)
        ids: array[int] = array("q")
        if length := self._ids_len[0]:
            ids.frombytes(core.ffi.buffer(self._ids[0], length * 8))
        return ids

    def close(self) -> None:
        """Finalize the prepared statements. A second call does nothing."""
        scan, self._scan = self._scan, None
        if scan is not None:
            self._core.ffi.release(scan)
