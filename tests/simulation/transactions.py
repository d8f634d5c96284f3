"""``transaction()`` in the simulation: several writes and the application's own SQL are committed together or not at
all."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import apsw

from sqlite_claims import BackendError, TaskState

from .actions import INSTANCES, TTLS, WORKER_TAGS, WORKERS, action, draw_settling, new_tasks, some_claim, some_task
from .process import Process
from .world import Difference, Pair, World


class RollBack(Exception):
    """Raised to leave the transaction without a commit."""


class Script:
    """The calls of one transaction. The calls are drawn before the transaction starts, so that the file and the oracle
    get the same calls."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.commits = random.random() < 0.6
        self.granted: tuple[list[Any], list[Any]] = ([], [])
        self.rows = dict(world.rows)
        draws = [self._add, self._claim, self._settle, self._own_sql, self._control, self._read, self._broken_sql]
        self.calls = [random.choice(draws)(random) for _ in range(random.randint(1, 8))]

    def run(self, store: Any, claims: list[Any]) -> list[Any]:
        """Make the calls in one transaction. ``claims`` are the drawn claims, with the tokens of this store."""
        is_oracle = store is self.world.oracle
        answers: list[Any] = []
        granted = self.granted[is_oracle]
        granted.clear()
        try:
            with store.transaction(timeout=600) as tx:
                for call in self.calls:
                    try:
                        answers.append(call(tx, claims, is_oracle, granted))
                    except BackendError:
                        answers.append("refused")
                if not self.commits:
                    raise RollBack
        except RollBack:
            pass
        return answers

    def _add(self, random: Random) -> Callable[..., Any]:
        name, tasks = random.choice(INSTANCES), new_tasks(self.world, random)
        if random.random() < 0.5:
            return lambda tx, *_: tx.add_instance(name, tasks)
        return lambda tx, *_: tx.add_tasks(name, tasks, if_exists="skip")

    def _claim(self, random: Random) -> Callable[..., Any]:
        worker, limit = random.choice(WORKERS), random.randint(1, 3)
        ttl, tags = random.choice(TTLS), random.choice(WORKER_TAGS)

        def claim(tx: Any, _claims: list[Any], _is_oracle: bool, granted: list[Any]) -> Any:
            claimed = tx.claim_available_tasks(worker, limit, ttl, tags=tags)
            granted += [each.claim for each in claimed]
            return claimed

        return claim

    def _settle(self, random: Random) -> Callable[..., Any]:
        settle, nth = draw_settling(random), random.randrange(100)
        return lambda tx, claims, *_: settle(tx, claims[nth % len(claims)]) if claims else None

    def _own_sql(self, random: Random) -> Callable[..., Any]:
        id, data = random.randrange(50), random.randbytes(random.choice([0, 10, 5000]))

        def insert(tx: Any, _claims: list[Any], is_oracle: bool, _granted: list[Any]) -> None:
            if not is_oracle:
                tx.execute("INSERT OR REPLACE INTO own VALUES(?, ?)", (id, data))
                self.rows[id] = data

        return insert

    def _broken_sql(self, _: Random) -> Callable[..., Any]:
        def insert(tx: Any, _claims: list[Any], is_oracle: bool, _granted: list[Any]) -> None:
            if not is_oracle:
                try:
                    tx.execute("INSERT INTO own VALUES(60, x'00'); INSERT INTO own VALUES(60, x'01')")
                except apsw.ConstraintError:
                    return
                raise Difference("two rows with one key were inserted")

        return insert

    def _control(self, random: Random) -> Callable[..., Any]:
        name, verb = random.choice(INSTANCES), random.choice(["pause", "resume", "cancel", "retry", "age"])
        if verb == "retry":
            names = some_task(self.world, random, [TaskState.FAILED])
            return lambda tx, *_: tx.retry_task(*names)
        if verb == "age":
            interval = random.choice([None, 10, 25])
            return lambda tx, *_: tx.set_aging_interval(interval)
        return lambda tx, *_: getattr(tx, f"{verb}_instance")(name)

    def _read(self, random: Random) -> Callable[..., Any]:
        name = random.choice(INSTANCES)
        return lambda tx, *_: tx.get_instance(name)


@action(5)
def transact(world: World, random: Random, process: Process) -> None:
    script = Script(world, random)
    held = [world.claims[some_claim(world, random)] for _ in range(3)] if world.claims else []
    answers = world.ask(
        process, script.run, ([pair[0] for pair in held], [pair[1] for pair in held]), takes_effect_first=False
    )
    own: Any = process.store._db.read(lambda db: db.execute("SELECT id, data FROM own").fetchall())
    rows: dict[int, bytes] = dict(own)
    if answers is None:  # the process was killed, so either all writes took effect or none
        if rows not in (script.rows, world.rows):
            raise Difference(f"half of the rows were stored: {sorted(rows)}")
        world.rows = rows
        return
    if script.commits:
        world.rows = script.rows
        granted: Pair = script.granted
        world.granted(granted)
    if rows != world.rows:
        raise Difference(f"the application's rows are {sorted(rows)}, not {sorted(world.rows)}")
