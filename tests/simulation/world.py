"""The simulated machine: one clock, one file, several processes on the file, and the oracle that gets the same calls.

The oracle is ``InMemoryClaimStore``, which has a separate implementation of the rules. For each call, one process makes
the call on the file, and the same call is made on the oracle, and the answers must be equal. If the process is killed
during a call, the call must have taken effect entirely or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from sqlite_claims import BackendError, ClaimedTask, InMemoryClaimStore, TaskClaim, TaskInfo
from sqlite_claims.testing import ManualClock

from .process import Killed, Process

_DULL = re.compile(
    r"(retry=RetryPolicy\(.*?\)|(added|started|finished)_at=(None|datetime\S*\(.*?utc\))|<\w+\.\w+: '\w+'>: 0"
    r"|(input|output|error|worker_id|claim|delay|available_at|definition_hash|reason)=(None|b?''))(, )?"
)
# Two values of the same kind: the value for the file and the value for the oracle.
Pair = tuple[Any, Any]
# The number of settled claims that are kept, so that the simulation can try to settle a claim twice.
_SETTLED_MAX = 30
# On average, one of this many writing calls is either cut short by a kill, or interleaved: another process makes calls
# between the transactions of the call.
_KILL_ONE_IN = 15
_INTERLEAVE_ONE_IN = 4
_STATEMENTS_MAX = 7


class Difference(BaseException):
    """The file and the oracle disagree, or the file is inconsistent. Not an ``Exception``, so that no ``except`` in the
    store can hide it."""


class World:
    """One simulated machine. ``random`` is the generator for the machine's own choices. Each action has a separate
    generator."""

    def __init__(self, random: Random, folder: Path, *, with_core: bool) -> None:
        self.random = random
        self.folder = folder
        self.clock = ManualClock()
        self.oracle = InMemoryClaimStore(clock=self.clock)
        self.path = self._new_path()
        self.processes = [
            Process(self.path, self.clock, use_c_core=with_core and random.random() < 0.6)
            for _ in range(random.choice([1, 2, 3, 5]))
        ]
        self.claims: list[Pair] = []
        self.settled: deque[Pair] = deque(maxlen=_SETTLED_MAX)
        self.tokens: dict[tuple[str, str], int] = {}
        self.rows: dict[int, bytes] = {}  # rows of the application's own table in the same file
        self.calls = 0
        self.kills: Counter[str] = Counter()  # number of kills by outcome
        # Runs an action of another process within a call. The history sets this function.
        self.interleave: Callable[[Process], None] | None = None
        self._is_interleaved = False
        with self.processes[0].store.transaction() as tx:
            tx.execute("CREATE TABLE own(id INTEGER PRIMARY KEY, data BLOB)")

    def _new_path(self) -> str:
        return str(Path(tempfile.mkdtemp(dir=self.folder)) / "jobs.db")

    # -- calls on the file and the oracle

    def ask(
        self,
        process: Process,
        question: Callable[..., Any],
        *pairs: Pair,
        any_error: bool = False,
        takes_effect_first: bool = False,
        may_be_killed: bool = True,
    ) -> Pair | None:
        """Make the call on the file and on the oracle.

        Return both answers, or ``None`` if both raised an error or the process was killed.

        Args:
            process: The process that makes the call on the file.
            question: Function called with the store and with the store's item of each pair.
            pairs: Arguments that differ between file and oracle, such as claims.
            any_error: True if the errors may differ, since no store promises which of several faults it reports.
            takes_effect_first: True if the first of the call's transactions decides the outcome, which other processes
                see before the last transaction.
            may_be_killed: True if the call may be killed or interleaved.
        """
        self.calls += 1
        left, between = self._surroundings(process) if may_be_killed else (None, None)

        def of_oracle() -> tuple[str, Any]:
            return _answer(lambda: question(self.oracle, *(pair[1] for pair in pairs)), any_error=any_error)

        before = self.oracle._backend.engine.state.copy() if left is not None else None
        expected = of_oracle() if takes_effect_first and left is None else None
        try:
            got = _answer(
                lambda: process.run(
                    lambda store: question(store, *(pair[0] for pair in pairs)), statements_left=left, between=between
                ),
                any_error=any_error,
            )
        except Killed:
            self._after_kill(process, before, of_oracle)
            return None
        expected = expected or of_oracle()
        if left is not None:
            # The process has completed the call within this number of statements. Kill the process before it returns
            # the result.
            self.restart(process, killed=True)
            self.kills["nobody told"] += 1
        if got[0] != expected[0] or plain(got[1]) != plain(expected[1]):
            raise Difference(f"{process}, then the oracle: {_difference(got, expected)}")
        return None if got[0] == "raises" or left is not None else (got[1], expected[1])

    def _surroundings(self, process: Process) -> tuple[int | None, Callable[[], None] | None]:
        """Draw whether the call is killed (and before which statement), or interleaved with another process's calls."""
        if self._is_interleaved:
            return None, None
        if self.random.randrange(_KILL_ONE_IN) == 0:
            return self.random.randint(1, _STATEMENTS_MAX), None
        interleave = self.interleave
        if interleave is None or len(self.processes) == 1 or self.random.randrange(_INTERLEAVE_ONE_IN):
            return None, None

        def between() -> None:
            if not self._is_interleaved:
                self._is_interleaved = True
                # The rows that the killed call has swept are visible already. Sweep the remaining rows in the file and
                # in the oracle.
                self.sweep(next(other for other in self.processes if other is not process))
                try:
                    interleave(process)
                finally:
                    self._is_interleaved = False

        return None, between

    def _after_kill(self, process: Process, before: Any, of_oracle: Callable[[], Any]) -> None:
        """Bring the oracle to the state of the file. The call must have taken effect entirely or not at all."""
        self.end(process, killed=True)
        process.start(self.path)
        seen = visible(process.store)
        of_oracle()
        after = visible(self.oracle)
        applied, self.oracle._backend.engine.state = self.oracle._backend.engine.state, before
        unchanged = visible(self.oracle)
        if seen not in (unchanged, after):
            raise Difference(
                f"killed, {process} left what is neither before nor after the call: "
                f"{_difference(seen, unchanged)}\nand {_difference(seen, after)}"
            )
        if seen != unchanged:
            self.oracle._backend.engine.state = applied
        self.kills["nothing to see" if after == unchanged else "undone" if seen == unchanged else "took effect"] += 1

    def granted(self, claims: Pair | None) -> None:
        """Record claims that both the file and the oracle have made. Raise an error unless the token in the file is
        larger than the previous token of the task."""
        for pair in zip(*(claims or ((), ())), strict=True):
            claim: TaskClaim = pair[0]
            names = claim.instance_id, claim.task_id
            if claim.token <= self.tokens.get(names, 0):
                raise Difference(f"token {claim.token} of {names} is not larger than {self.tokens[names]}")
            self.tokens[names] = claim.token
            self.claims.append(pair)

    # -- start and end of processes and of the machine

    def restart(self, process: Process, *, killed: bool) -> None:
        """End the process and start a new process in its place."""
        self.end(process, killed=killed)
        process.start(self.path)
        self.sweep(process)

    def sweep(self, process: Process) -> None:
        """Search for work in the file and in the oracle. When a session ends, the first sweep makes only a bounded
        number of its claims lost. Later searches make the remaining claims lost."""
        for store in (process.store, self.oracle):
            store.find_available_tasks("onlooker", 1)

    def end(self, process: Process, *, killed: bool) -> None:
        """End the process, and the sessions of its workers in the oracle."""
        if killed:
            process.die()
        else:
            process.exit()
        for _, session in process.sessions:
            if killed:
                session.kill()
            else:
                session.close()
        process.sessions.clear()

    def note_time(self, process: Process) -> None:
        """Make the file record the current store time. The file records the time at most once a second."""
        self.clock.advance(2)
        for store in (process.store, self.oracle):
            store.set_aging_interval(store.aging_interval)

    def go_down(self, random: Random, *, reboot: bool = False, copied: bool = False) -> None:
        """Kill all processes at once. Start them again after a reboot, or on a copy of the files."""
        if reboot or copied:
            self.note_time(random.choice(self.processes))
        old = self.path
        if copied:
            self.path = self._new_path()
            for suffix in ("", "-wal", *(["-sessions"] if random.random() < 0.5 else [])):
                shutil.copy(old + suffix, self.path + suffix)
        for process in self.processes:
            self.end(process, killed=True)
        if copied:
            shutil.rmtree(Path(old).parent)
        if reboot:
            self.clock.reboot()
        for process in self.processes:
            process.start(self.path)
        if copied and not reboot:
            # Claims in a copy belong to processes of the original file, so they end as at a reboot.
            engine = self.oracle._backend.engine
            engine._new_boot(engine.state.boot_id, engine.state.boot, engine.state.slept)
        if reboot:
            # The file records store time rounded up to a second, while the oracle uses the exact store time.
            self.oracle.stats()
            self.oracle._backend.engine.state.anchor += 1_000_000

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.exit()


def visible(store: Any) -> list[Any]:
    """Run the sweep of the store, then return everything that can be read from the store."""
    store.find_available_tasks("onlooker", 1)
    return [
        list(store.list_instances()),
        plain(list(store.list_tasks())),
        claims(store),
        store.stats(),
        store.aging_interval,
    ]


def claims(store: Any) -> list[Any]:
    """Return all claims, each with its remaining time."""
    return sorted(repr((plain(claim), claim.remaining(), claim.is_expired())) for claim in store.list_claims())


def plain(answer: Any) -> Any:
    """Return an answer without its tokens. Tokens only have to grow, since a kill may use up some tokens of the
    file."""
    if isinstance(answer, list | tuple):
        return [plain(each) for each in answer]
    if isinstance(answer, ClaimedTask):
        return [answer.task, plain(answer.claim)]
    if isinstance(answer, TaskInfo) and answer.claim is not None:
        return [replace(answer, claim=None), plain(answer.claim)]
    return replace(answer, token=0) if isinstance(answer, TaskClaim) else answer


def _difference(one: Any, other: Any) -> str:
    """Return the difference between two answers, without the equal parts of lists."""
    one, other = plain(one), plain(other)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            return "; ".join(_difference(*both) for both in zip(one, other, strict=True) if both[0] != both[1])
        one, other = [each for each in one if each not in other], [each for each in other if each not in one]
        return f"only the one has {_short(one)}, only the other {_short(other)}"
    return f"{_short(one)} / {_short(other)}"


def _short(answer: Any) -> str:
    """Return the answer as text, without the fields of a task that rarely matter."""
    return _DULL.sub("", repr(answer))


def _answer(call: Callable[[], Any], *, any_error: bool) -> tuple[str, Any]:
    try:
        return "is", call()
    except BackendError as error:
        return "raises", BackendError if any_error else type(error)
