"""A worker process of a pool: what runs in it, around the user's handlers.

It talks with its supervisor over a socket (``control``): it sends ``ready``, ``failed`` (with the error's text) and
``end``; it is told ``stop``. When the socket closes, the supervisor is gone: it stops. Log records go over another
socket (``log_lines``), so that they keep nothing waiting.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import selectors
import socket
import sys
import threading
from typing import Any

from ..store import SqliteClaimStore
from . import importing
from .control_channel import ControlChannel
from .execute import describe
from .handle import WorkerHandle
from .log_lines import LogSender
from .options import WorkerOptions
from .registry import HandlerTable
from .scoreboard import Scoreboard
from .signals import Signals
from .task_log import log
from .worker_loop import WorkerLoop

# How long after the last moment for its tasks a process without a supervisor may take to end.
_LEAVE_AFTER_S = 5.0
# How long it takes at most to find out that a handler has closed the descriptors by which the main thread is woken.
_LOOK_S = 5.0


def main(config: dict[str, Any]) -> None:
    """The process, from its start to its end. Exits 1 where it could not work."""
    control = ControlChannel(_socket(config["control"]))
    logging.getLogger().addHandler(LogSender(_socket(config["log"])))
    logging.disable(config["log_disabled"])
    for name, level in config["log_levels"].items():
        logging.getLogger(name or None).setLevel(level)
    sys.argv[:] = config["sys_argv"]
    if sys.stderr is not None:
        faulthandler.enable()
    with Signals() as signals:
        stage = "handlers"
        try:
            handlers = _handlers(config)
            stage = "store"
            with SqliteClaimStore(config["path"], **config["store_options"]) as store:
                stage = "run"
                _work(config, control, store, handlers, signals)
        except importing.UnguardedError as error:
            control.send(failed=str(error), stage="main file")
            sys.exit(1)
        except BaseException as error:  # noqa: BLE001 - the supervisor shows it
            text = describe(error)
            if not control.send(failed=text, stage=stage):
                head = text.partition("\n")[0]
                sys.exit(f"sqlite_claims: worker process {os.getpid()} can't tell its supervisor why it ends: {head}")
            sys.exit(1)


def _socket(descriptor: int) -> socket.socket:
    """One that commands of a handler don't inherit."""
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    return end


def _handlers(config: dict[str, Any]) -> HandlerTable:
    with importing.for_handlers(config["main"]):
        paths = config["handlers"]
        found = importing.load(paths) if isinstance(paths, str) else {k: importing.load(p) for k, p in paths.items()}
        return HandlerTable(importing.load(config["adapter"])(found) if config["adapter"] else found)


def _work(
    config: dict[str, Any],
    control: ControlChannel,
    store: SqliteClaimStore,
    handlers: HandlerTable,
    signals: Signals,
) -> None:
    options = WorkerOptions(**config["options"])
    scoreboard = Scoreboard(config["scoreboard"], options.concurrency)
    os.close(config["scoreboard"])
    memory_max = config["max_memory_per_child"]
    run = WorkerLoop(
        store,
        handlers,
        options,
        until_idle=config["until_idle"],
        scoreboard=scoreboard,
        max_tasks=config["max_tasks_per_child"],
        worn_out=lambda: memory_max is not None and memory_used() > memory_max,
    )
    handle = WorkerHandle(run, "claims-worker", options.shutdown_timeout)
    control.send(ready=True)
    try:
        _attend(handle, run, control, signals, options.shutdown_timeout)
    except OSError as error:  # a handler has closed our descriptors, so that nothing can be heard any more
        run.stop("stopped", options.shutdown_timeout)
        log.warning("a handler has closed descriptors of worker %s, which ends: %s", options.worker_id, error)
    summary = handle.join()
    control.send(end=summary.reason, by_handler=run.by_handler, left_behind=run.left_behind)


def _attend(
    handle: WorkerHandle, run: WorkerLoop, control: ControlChannel, signals: Signals, shutdown_timeout: float
) -> None:
    """Heed signals and the supervisor until the run is over."""
    with handle.announced_on(signals), selectors.DefaultSelector() as selector:
        selector.register(signals, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        while not handle.done:
            ready = {event.fileobj for event, _ in selector.select(_LOOK_S)}
            if signals in ready and signals.came():
                run.stop("interrupted", shutdown_timeout)
            if control in ready:
                for message in control.receive() or ():
                    _heed(message, run)
                if control.ended:
                    selector.unregister(control)
                    run.stop("stopped", shutdown_timeout)
                    _die_in(shutdown_timeout + _LEAVE_AFTER_S)


def _heed(message: dict[str, Any], run: WorkerLoop) -> None:
    match message:
        case {"stop": float() | int() | None as timeout}:
            run.stop("stopped", timeout)


def _die_in(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def memory_used() -> int:
    """Bytes of memory that this process holds now; where that can't be told, the most that it ever held."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
