"""``durable_map``: applies a function to many items in worker processes, and keeps the results in a file."""

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
from ..opening import file_path, open_store
from ..sqlite.store import SqliteClaimStore
from .codecs import JsonCodec
from .context import FailTask, TaskContext
from .handle import WorkerHandle
from .importing import main_file, path_of
from .pool import WorkerPool
from .registry import Handler

R = TypeVar("R")

# The largest number of added items whose results have not been yielded yet.
_AHEAD_MAX = 1000
# The iterator of items is read for at most this many seconds. Then the function checks for new results.
_DRAW_S = 0.05
_POLL_S = 0.001
_POLL_S_MAX = 0.05
_SHUTDOWN_S = 5.0


def durable_map(
    func: Callable[[Any], R],
    items: Iterable[Any],
    *,
    path: str | os.PathLike[str],
    processes: int | None = None,
    retries: int = 0,
) -> Iterator[R]:
    """Apply a function to each item in worker processes, and yield the results in the order of the items.

    The results are stored in a file, under the function's name. A second run computes only items that are new, have
    changed, have failed or have no result yet. A change of the function itself is NOT detected. Equal items are
    computed separately, so each of two equal items has a separate result.

    Items and results are ``bytes`` or values that JSON can represent. The function receives each item as JSON decodes
    it, and the caller receives each result as JSON decodes it. For example, a tuple becomes a list.

    In a program's main file, call ``durable_map`` under ``if __name__ == "__main__":``. The processes are stopped when
    the caller leaves the loop over the results.

    Args:
        func: the function. Worker processes import the function by name, so lambdas and inner functions are not
            allowed.
        items: the items. A generator may have any length, because at most 1,000 items are read before the next result
            is yielded.
        path: the store's file. A missing file is created.
        processes: the number of worker processes. Default: the number of CPUs.
        retries: the number of times that an item is tried again after an error. Default: 0.

    Returns:
        An iterator over the results.

    Raises:
        InvalidArgumentError: the function cannot be imported by name. Raised in the loop: an item is neither ``bytes``
            nor a value that JSON can represent.
        TaskFailedError: raised in the loop when the next result is that of a failed item, or when the worker processes
            were stopped.
        WorkerStartError: raised in the loop when the worker processes crash on start-up.
    """
    validate.integer("retries", retries, 0, 2**31 - 2)
    path = file_path(path)  # an absolute path, because the program may change the current folder before the loop starts
    name = _name(path_of("func", func))
    functions: dict[str, Any] = {name: func}
    pool = WorkerPool(path, functions, processes=processes, shutdown_timeout=_SHUTDOWN_S)
    pool._use_adapter(f"{__name__}:adapted")
    return _results(pool, name, path, iter(items), retries + 1)


def adapted(functions: dict[str, Callable[[Any], Any]]) -> dict[str, Handler]:
    """Return handlers that call the functions. Worker processes call ``adapted``."""
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
    """Return a ``bytes`` value as a NUL followed by the value, and any other value as JSON, which never begins with a
    NUL. Raises ``TypeError`` or ``ValueError`` if JSON cannot represent the value."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\0" + bytes(value)
    return JsonCodec().dumps(value)


def decode(data: bytes) -> Any:
    """Return the value that ``encode`` has encoded. For example, a tuple is returned as a list."""
    return data[1:] if data[:1] == b"\0" else json.loads(data)


def _name(path: str) -> str:
    """Return the name of the instance and of the kind that belong to the function with this import path."""
    module, _, attribute = path.partition(":")
    if module == "__main__":
        module = os.path.basename(main_file() or "")
    return validate.name("the function's name", f"durable_map {module}:{attribute}")


class _Items:
    """Reads the iterator of items, and adds each item as a task."""

    def __init__(self, store: SqliteClaimStore, name: str, items: Iterator[Any], max_attempts: int) -> None:
        self._store = store
        self._name = name
        self._items = items
        self._max_attempts = max_attempts
        self._numbers = count()
        self._is_new, _ = store._add_fed_instance(name)
        # The first 8 bytes of each item's digest. Each entry takes about 60 bytes of memory. If two different items
        # share these 8 bytes, the second item's task id gets a larger number at its end, which does no harm.
        self._known_digests: set[int] = set()
        self._repetitions: dict[int, int] = {}
        self.exhausted = False
        self.waiting: deque[tuple[int, str]] = deque()

    def draw(self) -> None:
        """Read some more items, and add them as tasks. The call blocks while the iterator of items blocks."""
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
        """Return a task id made of the item's digest and the number of equal items before it. So an item keeps its
        result if the order of the items changes."""
        digest = hashlib.sha256(data).digest()[:16]
        short = int.from_bytes(digest[:8])
        repetition = 0
        if short in self._known_digests:
            repetition = self._repetitions[short] = self._repetitions.get(short, 0) + 1
        self._known_digests.add(short)
        return f"{digest.hex()}-{repetition}"

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
    with open_store(path) as store:
        try:
            tasks = _Items(store, name, items, max_attempts)
            pause_s = _POLL_S
            while True:
                if len(tasks.waiting) <= _AHEAD_MAX // 2 and not tasks.exhausted:
                    tasks.draw()
                if not tasks.waiting:
                    return
                number, task_id = tasks.waiting[0]
                info = store.get_task(name, task_id)
                if info.state is TaskState.COMPLETED:
                    tasks.waiting.popleft()
                    pause_s = _POLL_S
                    assert info.output is not None
                    yield decode(info.output)
                elif info.state in (TaskState.FAILED, TaskState.CANCELLED):
                    raise TaskFailedError(f"item {number}: {info.error or info.state}")
                elif handle is None:
                    # The pool starts only when a result is missing. So a run that finds all its results starts no
                    # process.
                    handle = pool.spawn()
                elif handle.done:
                    handle.join()
                    raise TaskFailedError(f"item {number} was not computed: the worker processes were stopped")
                elif not tasks.exhausted and len(tasks.waiting) < _AHEAD_MAX:
                    tasks.draw()
                else:
                    time.sleep(pause_s)
                    pause_s = min(2 * pause_s, _POLL_S_MAX)
        finally:
            if handle is not None:
                handle.shutdown(_SHUTDOWN_S)
                if not handle.done:
                    handle.join()
