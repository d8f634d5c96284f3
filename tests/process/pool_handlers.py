"""Handlers for worker processes in tests, and a program that runs a pool or a worker with them.

A handler reports its start by writing a line to the FIFO ``said``. Some handlers wait until they can read a byte from
the FIFO ``gate``."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlite_claims import SqliteClaimStore
from sqlite_claims.workers import StopWorker, TaskContext, TaskRegistry

registry = TaskRegistry()
if "POOL_TEST_NO_PROBES" in os.environ:
    SqliteClaimStore._probe_every_us = 10**18


def folder() -> Path:
    return Path(os.environ["POOL_TEST_FOLDER"])


def say(text: str) -> None:
    with (folder() / "said").open("ab", buffering=0) as said:
        said.write(f"{text}\n".encode())


def pass_gate() -> None:
    with (folder() / "gate").open("rb", buffering=0) as gate:
        gate.read(1)


@registry.task("quick")
def quick(_: TaskContext) -> bytes:
    return str(os.getpid()).encode()


@registry.task("hold")
def hold(task: TaskContext) -> bytes:
    say(f"{task.task_id} {os.getpid()}")
    pass_gate()
    return b"held"


@registry.task("heed")
def heed(task: TaskContext) -> None:
    """Wait until the task is cancelled."""
    say(f"{task.task_id} {os.getpid()}")
    task.cancelled.wait()


def await_stop() -> None:
    """Wait until the stop of this thread's worker has begun. Handlers have no public way to find this out."""
    slot: Any = threading.current_thread()
    while not slot._target.__self__._services.stop_state.requested:
        time.sleep(0.01)


@registry.task("outlast")
def outlast(task: TaskContext) -> None:
    """Wait until the stop of the handler's worker has begun."""
    say(f"{task.task_id} {os.getpid()}")
    await_stop()


@registry.task("outlast at gate")
def outlast_at_gate(task: TaskContext) -> None:
    """Wait until the stop of the handler's worker has begun, report that, and then wait at the gate."""
    outlast(task)
    say(f"{task.task_id} {os.getpid()}")
    pass_gate()


@registry.task("seize")
def seize(task: TaskContext) -> None:
    """Never release the interpreter lock, so that no other thread of the process can run."""
    say(f"{task.task_id} {os.getpid()}")
    ctypes.PyDLL(None).sleep(3600)


@registry.task("command")
def command(task: TaskContext) -> None:
    """Start a command and wait until the command has ended."""
    sleeper = subprocess.Popen(["sleep", "3600"])
    say(f"{task.task_id} {sleeper.pid}")
    sleeper.wait()


@registry.task("witnessed")
def witnessed(task: TaskContext) -> bytes:
    """Append a line about the start to a log, then run for the number of seconds that the input contains."""
    with (folder() / "starts").open("ab", buffering=0) as starts:
        starts.write(f"{task.instance_id} {task.task_id} {task.claim.token}\n".encode())
    task.cancelled.wait(float(task.input))
    return str(task.claim.token).encode()


@registry.task("orphan")
def orphan(_: TaskContext) -> None:
    """Leave an orphaned process behind."""
    subprocess.run(["sh", "-c", "sleep 0 & exit 0"], check=True)


@registry.task("die")
def die(_: TaskContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@registry.task("leave at once")
def leave_at_once(_: TaskContext) -> None:
    os._exit(3)


@registry.task("linger")
def linger(task: TaskContext) -> None:
    """Leave a thread behind that keeps the process from ending."""
    say(f"{task.task_id} {os.getpid()}")
    threading.Thread(target=threading.Event().wait, daemon=False).start()


@registry.task("leave")
def leave(_: TaskContext) -> None:
    raise StopWorker


@registry.task("exit")
def exit_(_: TaskContext) -> None:
    sys.exit(7)


@registry.task("interrupt")
def interrupt(_: TaskContext) -> None:
    raise KeyboardInterrupt


@registry.task("fork")
def fork(task: TaskContext) -> bytes:
    """Fork a child. The input says how the child ends, and whether it ends before or after the parent process
    returns."""
    how, _, order = task.input.decode().partition(" ")
    child = os.fork()
    if child:
        if order == "first":
            os.waitpid(child, 0)
        return b"of the parent"
    if how == "exit":
        sys.exit(0)
    if how == "raise":
        raise ValueError("in the child")
    return b"of the child"


@registry.task("terminate")
def terminate(_: TaskContext) -> bytes:
    """Fork a child that would run for an hour, end the child by SIGTERM, and return how the child ended."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join(30)
    child.kill()
    return str(child.exitcode).encode()


@registry.task("log")
def log(task: TaskContext) -> None:
    logger = logging.getLogger("pool_handlers.log")
    logger.debug("not wanted")
    try:
        raise ValueError("inside")
    except ValueError:
        logger.exception("%s went wrong", task.task_id)


@registry.task("raise")
def raise_error(_: TaskContext) -> None:
    raise ValueError("no good")


@registry.task("log at length")
def log_at_length(task: TaskContext) -> None:
    logging.getLogger("pool_handlers.log").error("begin %s", "x" * int(task.input))


@registry.task("log with names")
def log_with_names(_: TaskContext) -> None:
    extra = {"order": 42, "parts": ["a", {"b": None}], "not_json": object(), "too_long": "x" * 100_000}
    logging.getLogger("pool_handlers.log").error("named", extra=extra)


@registry.task("forked loggers")
def forked_loggers(_: TaskContext) -> None:
    """Let four forks of the process log long lines at the same time."""
    pids = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            for _turn in range(20):
                logging.getLogger("pool_handlers.log").error("%s", str(number) * 30_000)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


@registry.task("flood")
def flood(task: TaskContext) -> None:
    """Log lines for ever."""
    say(f"{task.task_id} {os.getpid()}")
    while True:
        logging.getLogger("pool_handlers.log").error("%s", "x" * 30_000)


GARBAGE = [
    b"\n",
    b"",
    b"\xff\xfe\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b"7\n",
    b'{"ready": 1}\n',
    b'{"end": "never", "by_handler": false}\n',
    b'{"end": ["idle"], "by_handler": "yes"}\n',
    b'{"failed": 7, "stage": {}}\n',
    b'{"log": {}}\n',
    b"[" * 50_000 + b"\n",
    b"1" * 5_000 + b"\n",
    b'{"ready": 1e999}\n',
    b"x" * 60_000,
    b"y" * 60_000,
    b'\n{"tru',
]


@registry.task("garble")
def garble(_: TaskContext) -> bytes:
    """Write bytes that are no valid message to every socket of the process."""
    sockets = [
        int(name)
        for name in os.listdir("/proc/self/fd")
        if os.path.islink(link := f"/proc/self/fd/{name}") and os.readlink(link).startswith("socket:")
    ]
    for descriptor in sockets:
        for data in GARBAGE:
            os.write(descriptor, data)
        os.write(descriptor, b"\n")
    return str(len(sockets)).encode()


@registry.task("close descriptors")
def close_descriptors(task: TaskContext) -> bytes:
    """Close all descriptors, or only those whose target contains the input as text."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with contextlib.suppress(OSError):
            if descriptor > 2 and task.input.decode() in os.readlink(f"/proc/self/fd/{name}"):
                os.close(descriptor)
    return b"closed"


@registry.task("own session")
def own_session(task: TaskContext) -> None:
    """Start nested commands, each in a separate OS session, and wait until they have ended."""
    inner = "import subprocess, sys; subprocess.Popen(['sleep', '3600'], start_new_session=True).wait()"
    outer = subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while not (found := children.read_text().split()):
        time.sleep(0.01)
    say(f"{task.task_id} {outer.pid}")
    say(f"{task.task_id} {found[0]}")
    outer.wait()


_arrived: list[asyncio.Event] = []


async def meet(_: TaskContext) -> None:
    """Wait until three handlers run this function at the same time."""
    _arrived.append(asyncio.Event())
    if len(_arrived) == 3:
        for event in _arrived:
            event.set()
    await _arrived[-1].wait()


coroutines = {"meet": meet}


def count_bytes(text: str | bytes) -> int:
    """Record each call in a file. This function is for durable_map."""
    with (folder() / "calls").open("a") as calls:
        calls.write("x\n")
    if isinstance(text, str) and text in os.environ.get("POOL_TEST_BAD", "").split():
        raise ValueError(f"no good: {text}")
    return len(text)


def held_item(item: int) -> int:
    """Wait at the gate. This function is for durable_map."""
    say(f"{item} {os.getpid()}")
    pass_gate()
    return item


def as_json(value: object) -> object:
    """Return the ``repr`` of the argument that the worker got. This function is for durable_map."""
    return {"type": type(value).__name__, "value": value} if not isinstance(value, bytes) else value


def a_set(_: object) -> object:
    return {1, 2}


def own_handler(task: TaskContext) -> bytes:
    """Return a result. If this file is run as a program, this handler is defined in the main module."""
    return f"{task.task_id} in {__name__}".encode()


def main(what: str, path: str, options: str) -> None:
    from sqlite_claims.workers import CheckpointingRunner, PooledWorker, WorkerPool, durable_map

    settings = json.loads(options)
    until_idle = settings.pop("until_idle", False)
    if what == "pool":
        summary = WorkerPool(path, "pool_handlers:registry", **settings).run(until_idle)
    elif what == "own":
        summary = WorkerPool(path, {"*": own_handler}, **settings).run(until_idle)
    elif what == "worker":
        with SqliteClaimStore(path) as store:
            summary = PooledWorker(store, registry, **settings).run(until_idle)
    elif what == "runner":
        with SqliteClaimStore(path) as store:
            print(json.dumps(CheckpointingRunner(store, registry).run("i").state), flush=True)
        return
    elif what == "map":
        print(json.dumps(list(durable_map(held_item, range(4), path=path, processes=2))), flush=True)
        return
    elif what == "fork":  # forks a child that outlives the program and inherits its descriptors
        with WorkerPool(path, "pool_handlers:registry", **settings).spawn():
            input()
            if (child := os.fork()) == 0:
                time.sleep(3600)
            print(json.dumps(child), flush=True)
            input()
        return
    else:
        assert what == "forget"  # the program ends without stopping its worker
        store = SqliteClaimStore(path)
        PooledWorker(store, registry, **settings).spawn()
        input()
        return
    print(json.dumps([summary.reason, summary.completed, summary.failed, summary.lost]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
