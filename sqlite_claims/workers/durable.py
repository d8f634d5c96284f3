"""``durable_map``: a function over many items in worker processes, with results that outlive them all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, TypeVar

from .. import validate
from ..errors import InvalidArgumentError, NotFoundError, TaskFailedError
from ..model import NewTask, TaskState
from ..sqlite.files.paths import store_path
from ..store import SqliteClaimStore
from .context import FailTask, TaskContext
from .handle import WorkerHandle
from .importing import main_file, path_of
from .pool import WorkerPool
from .registry import Handler

R = TypeVar("R")

# Items that are added ahead of the one whose result is due.
_AHEAD_MAX = 1000
# How long to draw items before looking for results again.
_DRAW_S = 0.05
_PAUSE_S_MAX = 0.05
_SHUTDOWN_S = 5.0


def durable_map(
    func: Callable[[Any], R],
    items: Iterable[Any],
    *,
    path: str | os.PathLike[str],
    processes: int | None = None,
    retries: int = 0,
) -> Iterator[R]:
    """Yield ``func(item)`` for each item, in order, computed in worker processes.

    ``func``: a function that can be imported by name; in a program's main file, call this under
    ``if __name__ == "__main__":``. Items and results are JSON or ``bytes``; both sides get what JSON makes of them (a
    tuple is a list). ``items`` may be a generator of any length: it is drawn at most 1,000 items ahead.

    Results are kept in the file ``path`` under the function's name. A second run computes only what is missing or had
    failed, and an item that is new or has changed; it does NOT notice that the function has changed. Equal items are
    computed once for each place that they have among themselves. ``retries``: further attempts after an error.

    Raises ``TaskFailedError`` when an item that failed is reached; ``WorkerStartError`` where the processes can't work.
    Leaving the loop stops the processes.
    """
    validate.integer("retries", retries, 0, 2**31 - 2)
    path = store_path(path)  # now, not when the first result is asked for: the current folder may change until then
    name = _name(path_of("func", func))
    functions: dict[str, Any] = {name: func}
    pool = WorkerPool(path, functions, processes=processes, shutdown_timeout=_SHUTDOWN_S)
    pool._settings["adapter"] = f"{__name__}:adapted"
    return _results(pool, name, path, iter(items), retries + 1)


def adapted(functions: dict[str, Callable[[Any], Any]]) -> dict[str, Handler]:
    """In a worker process: handlers around the functions."""
    return {kind: _handler(function) for kind, function in functions.items()}


def _handler(function: Callable[[Any], Any]) -> Handler:
    def run(task: TaskContext) -> bytes:
        result = function(decode(task.input))
        try:
            return encode(result)
        except (TypeError, ValueError, RecursionError) as error:
            raise FailTask(f"the result is neither JSON nor bytes: {error}") from None

    return run


def encode(value: object) -> bytes:
    """JSON as text, ``bytes`` behind a NUL, with which no JSON begins. Raises ``TypeError`` or ``ValueError``."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\0" + bytes(value)
    try:
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _plain(value: Any) -> Any:
    """A NumPy scalar as a number of Python's. Raises ``TypeError`` for all else that JSON doesn't have."""
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        return item()
    raise TypeError(
        f"{type(value).__name__} has no form in JSON; make it one of str, int, float, bool, None, list and dict, or "
        "bytes (an array by tolist(), a dataclass by dataclasses.asdict(), a date by isoformat(), a set by sorted())"
    )


def decode(data: bytes) -> Any:
    """What ``encode`` was given, as JSON gives it back."""
    return data[1:] if data[:1] == b"\0" else json.loads(data)


def _name(path: str) -> str:
    """Of the instance and of the kind: the function's path, with the program's name for ``__main__``."""
    module, _, attribute = path.partition(":")
    if module == "__main__":
        module = os.path.basename(main_file() or "")
    return validate.name("the function's name", f"durable_map {module}:{attribute}")


class _Items:
    """The items as tasks: drawn, named and added."""

    def __init__(self, store: SqliteClaimStore, name: str, items: Iterator[Any], max_attempts: int) -> None:
        self._store = store
        self._name = name
        self._items = items
        self._max_attempts = max_attempts
        self._numbers = count()
        self._is_new, _ = store._add_fed_instance(name)
        # By 8 bytes of each digest: about 60 bytes an item. Two items that share them only get other numbers.
        self._seen: set[int] = set()
        self._again: dict[int, int] = {}
        self.exhausted = False
        self.waiting: deque[tuple[int, str]] = deque()

    def draw(self) -> None:
        """Add some more tasks; blocks while the iterator does."""
        tasks: list[NewTask] = []
        until = time.monotonic() + _DRAW_S
        while len(self.waiting) < _AHEAD_MAX and (not tasks or time.monotonic() < until):
            try:
                item = next(self._items)
            except StopIteration:
                self.exhausted = True
                break
            number = next(self._numbers)
            try:
                data = encode(item)
            except (TypeError, ValueError, RecursionError) as error:
                raise InvalidArgumentError(f"item {number} is neither JSON nor bytes: {error}") from None
            task_id = self._task_id(data)
            if not self._is_new:
                self._retry_failed(task_id)
            tasks.append(NewTask(task_id, data, kind=self._name, max_attempts=self._max_attempts))
            self.waiting.append((number, task_id))
        if tasks:
            self._store.add_tasks(self._name, tasks, if_exists="skip")

    def _task_id(self, data: bytes) -> str:
        """The item itself and its place among equal ones: so an item that moves keeps its result."""
        digest = hashlib.sha256(data).digest()[:16]
        short = int.from_bytes(digest[:8])
        place = 0
        if short in self._seen:
            place = self._again[short] = self._again.get(short, 0) + 1
        self._seen.add(short)
        return f"{digest.hex()}-{place}"

    def _retry_failed(self, task_id: str) -> None:
        try:
            if self._store.get_task(self._name, task_id).state is TaskState.FAILED:
                self._store.retry_task(self._name, task_id)
        except NotFoundError:
            pass


def _results(
    pool: WorkerPool, name: str, path: str | os.PathLike[str], items: Iterator[Any], max_attempts: int
) -> Iterator[Any]:
    handle: WorkerHandle | None = None
    with SqliteClaimStore(path) as store:
        try:
            tasks = _Items(store, name, items, max_attempts)
            pause = 0.001
            while True:
                if len(tasks.waiting) <= _AHEAD_MAX // 2 and not tasks.exhausted:
                    tasks.draw()
                if not tasks.waiting:
                    return
                number, task_id = tasks.waiting[0]
                info = store.get_task(name, task_id)
                if info.state is TaskState.COMPLETED:
                    tasks.waiting.popleft()
                    pause = 0.001
                    assert info.output is not None
                    yield decode(info.output)
                elif info.state in (TaskState.FAILED, TaskState.CANCELLED):
                    raise TaskFailedError(f"item {number}: {info.error or info.state}")
                elif handle is None:
                    # Not before something is missing: a run that finds all its results starts no process.
                    handle = pool.spawn()
                elif handle.done:
                    handle.join()
                    raise TaskFailedError(f"item {number} was not computed: the worker processes were stopped")
                elif not tasks.exhausted and len(tasks.waiting) < _AHEAD_MAX:
                    tasks.draw()
                else:
                    time.sleep(pause)
                    pause = min(2 * pause, _PAUSE_S_MAX)
        finally:
            if handle is not None:
                handle.shutdown(_SHUTDOWN_S)
                if not handle.done:
                    handle.join()
