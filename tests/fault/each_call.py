"""Let each system call of each public operation fail once, and report every wrong result.

Run this file by its path with the injector loaded: ``python each_call.py INJECTOR FOLDER DURABILITY CORE EACH_MAX
OPERATION...``. If an operation makes more than ``EACH_MAX`` system calls of one kind, only ``EACH_MAX`` of them fail,
evenly spread. The program prints one line of JSON: the number of faults for each system call, and the findings.

Every run starts from a store with the same contents. The first run of an operation counts its system calls. The
operation then runs once for each system call and each errno. After a fault, the operation must either raise an error of
this library and change nothing, or succeed with a result that a power cut cannot remove. When the operation is called
again on the same store object, it must succeed. A second process must read the same contents from the store."""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from sqlite_claims import BackendError, InvalidStateError, NewTask, RetryPolicy, SqliteClaimStore, TaskClaim, restore
from sqlite_claims.testing import ManualClock

CALLS = {
    "open": [errno.EACCES, errno.EMFILE, errno.ENOSPC, errno.EIO],
    "read": [errno.EIO, 0],
    "write": [errno.ENOSPC, errno.EIO, errno.EDQUOT, 0],
    "sync": [errno.EIO, errno.ENOSPC],
    "truncate": [errno.EIO, errno.ENOSPC],
    "lock": [errno.ENOLCK, errno.EIO],
    "map": [errno.ENOMEM],
    "stat": [errno.EIO, errno.EACCES],
    "unlink": [errno.EIO, errno.EACCES],
    "rename": [errno.EIO, errno.ENOSPC],
    "readlink": [errno.EACCES],
    "allocate room": [errno.ENOSPC],
    "malloc": [errno.ENOMEM],
    "futex": [errno.ENOSYS, errno.EINTR],
}
# Beginning of the error for a result that was committed but not synced, so that a power cut may lose the result.
COMMITTED = "committed, but"


class Situation:
    """A store with tasks in many states, and the claims that the operations use."""

    def __init__(self, path: Path, clock: ManualClock, durability: Any, use_c_core: bool) -> None:
        self.path, self.clock = path, clock
        self.options: dict[str, Any] = {"durability": durability, "use_c_core": use_c_core, "clock": clock}
        self.store = self.open()

    def open(self) -> SqliteClaimStore:
        return SqliteClaimStore(self.path, busy_timeout=0.2, **self.options)

    def held(self, task_id: str) -> TaskClaim:
        claim = self.store.get_task("i", task_id).claim
        assert claim is not None
        return claim


def prepare(path: Path, clock: ManualClock) -> None:
    """Make the store from which each run starts."""
    once = RetryPolicy(10, 1, 10, 0)
    with SqliteClaimStore(path, clock=clock) as store:
        tasks = [NewTask(f"t{n}", b"input", kind=f"k{n % 2}", max_attempts=2, retry=once) for n in range(12)]
        store.add_instance("i", [*tasks, NewTask("after", depends_on=["t0", "t1"], tags=["a"])])
        store.add_instance("paused", [NewTask(f"p{n}") for n in range(5)])
        store.pause_instance("paused")
        store.add_instance("over", [NewTask("o"), NewTask("failing", max_attempts=1)])
        for name in ("o", "failing"):
            claim = store.claim_task("over", name, "w", 60)
            assert claim is not None
            if name == "o":
                store.complete_task(claim, b"output" * 1000)
            else:
                store.fail_task(claim, "broke")
        for n in range(4):
            store.claim_task("i", f"t{n}", "w", 600)
        with store.transaction() as tx:
            tx.execute("CREATE TABLE own(id INTEGER PRIMARY KEY, data BLOB)")


def _transact(situation: Situation) -> None:
    with situation.store.transaction() as tx:
        tx.execute("INSERT INTO own VALUES(1, zeroblob(3000))")
        tx.complete_task(situation.held("t0"), b"output" * 500)
        tx.add_tasks("i", [NewTask("more", depends_on=["after"])])


Operation = Callable[[Situation], Any]
WRITING: dict[str, Operation] = {
    "add_instance": lambda s: s.store.add_instance("new", [NewTask("a", b"x" * 5000), NewTask("b", depends_on=["a"])]),
    "add_tasks": lambda s: s.store.add_tasks("i", [NewTask(f"n{n}", b"y" * 500, tags=["b"]) for n in range(20)]),
    "claim_task": lambda s: s.store.claim_task("i", "t5", "v", 60),
    "claim_available_tasks": lambda s: s.store.claim_available_tasks("v", 3, 60),
    "renew_task_claim": lambda s: s.store.renew_task_claim(s.held("t0"), 900),
    "extend_task_claim": lambda s: s.store.extend_task_claim("i", "t0", "w", 900),
    "complete_task": lambda s: s.store.complete_task(s.held("t0"), b"z" * 20_000),
    "complete_tasks": lambda s: s.store.complete_tasks([(s.held("t0"), b"1"), (s.held("t1"), b"2")]),
    "fail_task": lambda s: s.store.fail_task(s.held("t0"), "broke"),
    "fail_tasks": lambda s: s.store.fail_tasks([(s.held("t0"), "broke"), (s.held("t1"), "too")]),
    "release_task": lambda s: s.store.release_task(s.held("t0")),
    "release_task_claim": lambda s: s.store.release_task_claim("i", "t0", "w"),
    "pause_instance": lambda s: s.store.pause_instance("i"),
    "resume_instance": lambda s: s.store.resume_instance("paused"),
    "cancel_instance": lambda s: s.store.cancel_instance("i", "enough"),
    "retry_task": lambda s: s.store.retry_task("over", "failing"),
    "prune": lambda s: s.store.prune(0),
    "set_aging_interval": lambda s: s.store.set_aging_interval(60),
    "transaction": _transact,
}
# Operations that change nothing that a caller can see in the store.
READING: dict[str, Operation] = {
    "find_available_tasks": lambda s: s.store.find_available_tasks("v", 10),
    "list_tasks": lambda s: list(s.store.list_tasks()),
    "get_task": lambda s: s.store.get_task("over", "o"),
    "explain_task": lambda s: s.store.explain_task("i", "t0"),
    "stats": lambda s: s.store.stats(),
    "wait_for_tasks": lambda s: s.store.wait_for_tasks(0),
    "check": lambda s: s.store.check(),
    "backup": lambda s: s.store.backup(s.path.with_name("backup.db")),
    "restore": lambda s: restore(s.path.with_name("original.db"), s.path.with_name("restored.db")),
    "open_session": lambda s: s.store.open_session("w").close(),
    "open": lambda s: s.open().close(),
    "close": lambda s: s.store.close(),
}
OPERATIONS = WRITING | READING


def visible(store: SqliteClaimStore) -> list[Any]:
    """Return everything that a caller can see in the store, except claims that were both made and ended during the
    run."""
    with store.transaction() as tx:
        own = tx.execute("SELECT id, length(data) FROM own")
    return [list(store.list_instances()), list(store.list_tasks()), store.aging_interval, own]


class Trial:
    """All runs of one operation."""

    def __init__(self, injector: ctypes.CDLL, folder: Path, name: str, durability: str, use_c_core: bool) -> None:
        self.injector, self.folder = injector, folder
        self.name, self.operation = name, OPERATIONS[name]
        self.durability, self.use_c_core = durability, use_c_core
        self.clock = ManualClock()
        self.made: Counter[str] = Counter()
        self.found: list[str] = []

    def new_situation(self) -> Situation:
        """Make a store in an empty folder and open the store."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path = folder / "jobs.db"
        prepare(path, self.clock)
        if self.name == "restore":
            shutil.copy(path, folder / "original.db")
        return Situation(path, self.clock, self.durability, self.use_c_core)

    def run(self, each_max: int) -> None:
        """Count the operation's system calls. Then make each of these calls fail."""
        situation = self.new_situation()
        before = visible(situation.store)
        self.injector.inject_reset()
        self.operation(situation)
        counts = [self.injector.inject_count(number) for number in range(len(CALLS))]
        after = before if self.name in READING else visible(situation.store)
        situation.store.close()
        for number, (call, codes) in enumerate(CALLS.items()):
            for nth in _spread(counts[number], each_max):
                for code in codes:
                    # Lock calls fail only once, never permanently, because SQLite would retry a failing lock for ten
                    # seconds.
                    for all_later in (False, True) if code != 0 and call != "lock" else (False,):
                        self.fail(before, after, f"{call} {nth}", number, nth, code, all_later)

    def fail(self, before: Any, after: Any, where: str, number: int, nth: int, code: int, all_later: bool) -> None:
        """Run the operation once while the given system call fails, and record each finding."""
        situation = self.new_situation()
        how = errno.errorcode[code] if code else "half done"
        story = f"{self.name}, {where}{' and all later' if all_later else ''}: {how}"
        self.injector.inject_arm(number, nth, code, all_later)
        error: BaseException | None = None
        try:
            self.operation(situation)
        except BaseException as raised:  # noqa: BLE001 - the trial judges the error
            error = raised
        failed = self.injector.inject_failed()
        self.injector.inject_reset()
        if failed:
            self.made[where.rsplit(" ", 1)[0]] += 1
        try:
            self.judge(situation, error, before, after)
        except BaseException as raised:  # noqa: BLE001 - the trial judges the error
            self.found.append(f"{story}: {type(raised).__name__}: {raised} (the operation: {error!r})")
        finally:
            try:
                situation.store.close()
            except BaseException as raised:  # noqa: BLE001 - the trial judges the error
                self.found.append(f"{story}: close: {raised!r}")

    def judge(self, situation: Situation, error: BaseException | None, before: Any, after: Any) -> None:
        """Raise an error if the state of the store after a fault is wrong."""
        # For errors in the caller's own SQL, ``transaction`` raises SQLite's exceptions.
        ours = (BackendError, apsw.Error) if self.name == "transaction" else BackendError
        assert error is None or isinstance(error, ours), "no error of ours"
        if self.name == "close":
            situation.store = situation.open()
        now = visible(situation.store)
        if error is None:
            assert now == after, f"said to be done, and isn't: {_difference(now, after)}"
        elif COMMITTED in str(error):
            assert now == after, f"said to be committed, and isn't: {_difference(now, after)}"
        else:
            assert now == before, f"refused, and changed something: {_difference(now, before)}"
            try:
                self.operation(situation)
            except InvalidStateError:
                if self.name not in ("backup", "restore"):
                    raise
            if self.name == "close":
                situation.store = situation.open()
            assert visible(situation.store) == after, "a second call didn't do it"
        damage = situation.store.check()
        assert damage == [], f"check: {damage}"
        now = visible(situation.store)
        situation.store.close()
        with situation.open() as other:
            assert visible(other) == now, "what the store showed is not what is in the file"


def _spread(count: int, each_max: int) -> list[int]:
    """Return evenly spread integers from 0 to ``count`` - 1."""
    step = max(1.0, count / each_max)
    return sorted({int(number * step) for number in range(min(count, each_max))})


def _difference(one: list[Any], other: list[Any]) -> str:
    return "; ".join(
        f"{[a for a in mine if a not in theirs]} / {[b for b in theirs if b not in mine]}"
        if isinstance(mine, list)
        else f"{mine} / {theirs}"
        for mine, theirs in zip(one, other, strict=True)
        if mine != theirs
    )


def sqlites_code() -> tuple[int, int]:
    """Return the address range of the machine code of apsw's SQLite."""
    for line in Path("/proc/self/maps").read_text("ascii").splitlines():
        if apsw.__file__ in line and " r-xp " in line:
            begin, end = line.split(" ")[0].split("-")
            return int(begin, 16), int(end, 16)
    raise AssertionError("apsw's code is not mapped")


def main(injector: str, folder: str, durability: str, core: str, each_max: str, *names: str) -> None:
    """Run the named operations with faults, and print the number of faults and the findings."""
    library = ctypes.CDLL(injector)
    for function in ("inject_count", "inject_failed"):
        getattr(library, function).restype = ctypes.c_long
    begin, end = sqlites_code()
    library.inject_sqlite(ctypes.c_void_p(begin), ctypes.c_void_p(end))
    made: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        trial = Trial(library, Path(folder) / name, name, durability, core == "c")
        trial.run(int(each_max))
        made += trial.made
        found += trial.found
        shutil.rmtree(trial.folder)
    print(json.dumps({"made": made, "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
