"""Translation of SQLite's and the system's errors: each becomes an error of this library, and none reaches the caller
unchanged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from sqlite_claims import (
    BackendError,
    InvalidArgumentError,
    NewTask,
    SqliteClaimStore,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from sqlite_claims.sqlite.error_translation import translate


def all_of(kind: type[Exception]) -> Iterator[type[Exception]]:
    for derived in kind.__subclasses__():
        yield derived
        yield from all_of(derived)


APSW_ERRORS = sorted(set(all_of(apsw.Error)), key=lambda kind: kind.__name__)
OURS: dict[type[Exception], type[BackendError]] = {
    apsw.BusyError: StoreBusyError,
    apsw.LockedError: StoreBusyError,
    apsw.ProtocolError: StoreBusyError,
    apsw.FullError: StoreFullError,
    apsw.CorruptError: StoreCorruptError,
    apsw.NotADBError: StoreCorruptError,
    apsw.CantOpenError: StoreUnavailableError,
    apsw.PermissionsError: StoreUnavailableError,
    apsw.ReadOnlyError: StoreUnavailableError,
    apsw.IOError: StoreUnavailableError,
    apsw.TooBigError: InvalidArgumentError,
    apsw.ConnectionClosedError: StoreClosedError,
    apsw.SQLError: StoreCorruptError,
    apsw.ConstraintError: StoreCorruptError,
    apsw.MismatchError: StoreCorruptError,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteClaimStore]:
    with SqliteClaimStore(tmp_path / "jobs.db", durability="process") as store:
        store.add_instance("i", [NewTask("t")])
        yield store


@pytest.mark.parametrize("mode", ["write", "read", "transaction"])
def test_whatever_sqlite_raises_becomes_ours_with_the_path_and_the_cause(store: SqliteClaimStore, mode: str) -> None:
    for kind in APSW_ERRORS:

        def operation(_: Any, kind: type[Exception] = kind) -> None:
            raise kind("what SQLite says")

        def call(operation: Any = operation) -> None:
            if mode == "write":
                store._db.write(operation, False)
            elif mode == "read":
                store._db.read(operation)
            else:
                with store.transaction() as tx:
                    cast(Any, tx._backend)._write(operation, False)

        with pytest.raises(BackendError, match="what SQLite says") as raised:
            call()
        assert type(raised.value) is OURS.get(kind, BackendError), kind
        assert store.path in str(raised.value)
        assert isinstance(raised.value.__cause__, kind)
        assert store.add_instance(f"after-{kind.__name__}")


@pytest.mark.parametrize(
    ("number", "ours"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EFBIG, StoreFullError),
        (errno.EIO, StoreUnavailableError),
        (0, StoreUnavailableError),
    ],
)
def test_an_io_error_of_sqlites_is_told_apart_by_the_systems(number: int, ours: type[Exception]) -> None:
    assert type(translate(apsw.IOError("disk I/O error"), "jobs.db", number)) is ours


@pytest.mark.parametrize(
    ("number", "ours"),
    [(errno.ENOSPC, StoreFullError), (errno.EMFILE, StoreUnavailableError), (errno.EACCES, StoreUnavailableError)],
)
def test_errors_of_the_system_become_ours_and_name_the_file(
    store: SqliteClaimStore, number: int, ours: type[Exception]
) -> None:
    def operation(_: Any) -> None:
        raise OSError(number, os.strerror(number), "side-file")

    with pytest.raises(ours, match=f"side-file: {os.strerror(number)}"):
        store._db.write(operation, False)


@pytest.mark.parametrize("error", [KeyError(7), IndexError(), OverflowError("date value out of range"), TypeError()])
def test_values_that_no_store_writes_mean_a_damaged_file(store: SqliteClaimStore, error: Exception) -> None:
    def operation(_: Any) -> None:
        raise error

    with pytest.raises(StoreCorruptError, match=type(error).__name__):
        store._db.read(operation)
    with pytest.raises(StoreCorruptError), store.transaction() as tx:
        cast(Any, tx._backend)._write(operation, False)


def test_an_error_that_is_not_the_stores_passes_through_and_is_rolled_back(store: SqliteClaimStore) -> None:
    def operation(db: Any) -> None:
        db.execute("UPDATE claims_instances SET definition_hash = 'changed'")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._db.write(operation, False)
    assert store.get_instance("i").definition_hash == ""
    assert store.add_instance("afterwards")
