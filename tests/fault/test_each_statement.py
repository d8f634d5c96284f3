"""Each SQL statement of each public operation fails once with each of SQLite's result codes. The call raises an error
of this library, no operation is half done, and the same store object can still be used."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from sqlite_claims.sqlite.scan import core_available
from sqlite_claims.testing import ManualClock

from ..tiers import first_is_fast
from . import each_call

CODES = [
    *("SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"),
    *("SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_IOERR_NOMEM", "SQLITE_INTERRUPT", "SQLITE_CANTOPEN"),
    *("SQLITE_READONLY", "SQLITE_READONLY_DBMOVED", "SQLITE_READONLY_CANTINIT", "SQLITE_PERM", "SQLITE_AUTH"),
    *("SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_NOTADB", "SQLITE_SCHEMA", "SQLITE_ERROR", "SQLITE_INTERNAL"),
    *(name for name in vars(apsw) if name.startswith("SQLITE_IOERR")),
]
# After these errors, SQLite may have rolled the transaction back by itself.
ROLL_BACK = (apsw.FullError, apsw.IOError, apsw.NoMemError, apsw.BusyError, apsw.InterruptError, apsw.CorruptError)
GROUPS = 10


class Faults:
    """Count the statements of the store's connections, and make one of them fail before it runs."""

    def __init__(self) -> None:
        self.count = 0
        self.nth = -1
        self.code = 0
        self.rolls_back = False
        self.failed = ""

    def reset(self, nth: int = -1, code: int = 0, rolls_back: bool = False) -> None:
        self.count, self.nth, self.code, self.rolls_back, self.failed = 0, nth, code, rolls_back, ""

    def trace(self, cursor: apsw.Cursor, statement: str, _: object) -> bool:
        at, self.count = self.count, self.count + 1
        if at == self.nth:
            self.nth = -1
            self.failed = statement.strip().splitlines()[-1]
            connection = cursor.connection
            if self.rolls_back and connection.in_transaction:
                connection.execute("ROLLBACK")
            raise apsw.exception_for(self.code)
        return True

    def install(self, connection: apsw.Connection) -> None:
        connection.exec_trace = self.trace


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    faults = Faults()
    monkeypatch.setattr(apsw, "connection_hooks", [faults.install])
    return faults


class Trial(each_call.Trial):
    """All runs of one operation."""

    def __init__(self, faults: Faults, folder: Path, name: str) -> None:
        self.folder, self.name, self.operation = folder, name, each_call.OPERATIONS[name]
        self.durability, self.use_c_core, self.clock = "process", core_available(), ManualClock()
        self.faults = faults
        self.found = []

    def fail_all(self, all_codes: bool) -> int:
        """Make each statement fail, either with all codes one after the other or with only the next code of the cycle.
        Return the number of failures."""
        situation = self.new_situation()
        before = each_call.visible(situation.store)
        self.faults.reset()
        self.operation(situation)
        statements = self.faults.count
        after = before if self.name in each_call.READING else each_call.visible(situation.store)
        situation.store.close()
        made = 0
        for nth in range(statements):
            for name in CODES if all_codes else [CODES[(7 * nth + len(self.name)) % len(CODES)]]:
                for rolls_back in (False, True):
                    if not rolls_back or isinstance(apsw.exception_for(getattr(apsw, name)), ROLL_BACK):
                        made += self.fail_one(nth, name, rolls_back, before, after)
        return made

    def fail_one(self, nth: int, code: str, rolls_back: bool, before: object, after: object) -> int:
        situation = self.new_situation()
        error: BaseException | None = None
        self.faults.reset(nth, getattr(apsw, code), rolls_back)
        try:
            self.operation(situation)
        except BaseException as raised:  # noqa: BLE001 - the trial judges the error
            error = raised
        failed = self.faults.failed
        self.faults.reset()
        story = f"{self.name}, statement {nth} ({failed}), {code}{', rolled back' if rolls_back else ''}"
        try:
            self.judge(situation, error, before, after)
        except BaseException as raised:  # noqa: BLE001 - the trial judges the error
            self.found.append(f"{story}: {type(raised).__name__}: {raised} (the operation: {error!r})")
        finally:
            situation.store.close()
        return bool(failed)


@pytest.mark.parametrize("group", first_is_fast(range(GROUPS)))
def test_an_operation_survives_the_failure_of_each_of_its_statements(
    faults: Faults, tmp_path: Path, group: int
) -> None:
    found, made = run(faults, tmp_path, group, all_codes=False)
    assert found == []
    assert made > 10


@pytest.mark.soak
@pytest.mark.parametrize("group", range(GROUPS))
def test_an_operation_survives_each_result_code_at_each_of_its_statements(
    faults: Faults, tmp_path: Path, group: int
) -> None:
    found, made = run(faults, tmp_path, group, all_codes=True)
    print(f"{made:,} faults")
    assert found == []


def run(faults: Faults, folder: Path, group: int, *, all_codes: bool) -> tuple[list[str], int]:
    found, made = [], 0
    for name in list(each_call.OPERATIONS)[group::GROUPS]:
        own_folder = folder / name
        own_folder.mkdir()
        trial = Trial(faults, own_folder, name)
        made += trial.fail_all(all_codes)
        found += trial.found
    return found, made
