"""A worker process of a pool: what runs in it, around the user's handlers.

It talks with its supervisor over a socket, one JSON object a line. It says ``ready``, ``failed`` (with the error's
text), ``log`` (a record) and ``end``; it is told ``stop``. When the socket closes, the supervisor is gone: it stops.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing.spawn
import os
import resource
import select
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from ..store import SqliteClaimStore
from .board import Board
from .execute import describe
from .handle import WorkerHandle
from .importing import load
from .options import WorkerOptions
from .registry import HandlerTable
from .run import Run
from .signals import Signals

# How long after the last moment for its tasks a process without a supervisor may take to end.
_LEAVE_AFTER_S = 5.0


class Link:
    """This process's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.set_inheritable(False)
        self._lock = threading.Lock()
        self._read = b""

    def say(self, **message: Any) -> None:
        """Send one message; to nobody, where the supervisor is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock, suppress(OSError):
            self.socket.sendall(data)

    def hear(self) -> list[dict[str, Any]] | None:
        """What has come, ``None`` when nothing will come any more."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            return None
        *lines, self._read = (self._read + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None


class _LogToSupervisor(logging.Handler):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = self._formatter.formatException(record.exc_info) if record.exc_info else record.exc_text
            names = ("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created")
            shown = {name: getattr(record, name) for name in (*names, "process", "threadName")}
            self._link.say(log={**shown, "msg": record.getMessage(), "exc_text": trace})
        except Exception:  # noqa: BLE001 - a log line that can't be made is reported as logging does it
            self.handleError(record)


def main(config: dict[str, Any]) -> None:
    """The process, from its start to its end. Exits 1 where it could not work."""
    link = Link(config["control"])
    logging.getLogger().addHandler(_LogToSupervisor(link))
    for name, level in config["log_levels"].items():
        logging.getLogger(name or None).setLevel(level)
    if sys.stderr is not None:
        faulthandler.enable()
    with Signals() as signals:
        stage = "handlers"
        try:
            handlers = _handlers(config)
            stage = "store"
            with SqliteClaimStore(config["path"], **config["store_options"]) as store:
                stage = "run"
                _work(config, link, store, handlers, signals)
        except BaseException as error:  # noqa: BLE001 - the supervisor shows it
            link.say(failed=describe(error), stage=stage)
            sys.exit(1)


def _handlers(config: dict[str, Any]) -> HandlerTable:
    if config["main"]:
        # As multiprocessing does it: the program's own file, not under the name "__main__".
        multiprocessing.spawn.prepare(config["main"])
    paths = config["handlers"]
    found = load(paths) if isinstance(paths, str) else {kind: load(path) for kind, path in paths.items()}
    return HandlerTable(load(config["adapter"])(found) if config["adapter"] else found)


def _work(
    config: dict[str, Any], link: Link, store: SqliteClaimStore, handlers: HandlerTable, signals: Signals
) -> None:
    options = WorkerOptions(**config["options"])
    board = Board(config["board"], options.concurrency)
    os.close(config["board"])
    memory_max = config["max_memory_per_child"]
    run = Run(
        store,
        handlers,
        options,
        until_idle=config["until_idle"],
        board=board,
        max_tasks=config["max_tasks_per_child"],
        worn_out=lambda: memory_max is not None and memory_used() > memory_max,
    )
    handle = WorkerHandle(run, "claims-worker", options.shutdown_timeout)
    link.say(ready=True)
    sources: list[Any] = [signals, link.socket]
    with handle.announced_on(signals):
        while not handle.done:
            ready = select.select(sources, [], [])[0]
            if signals in ready and signals.came():
                run.stop("interrupted", options.shutdown_timeout)
            if link.socket in ready:
                messages = link.hear()
                if messages is None:
                    sources.remove(link.socket)
                    run.stop("stopped", options.shutdown_timeout)
                    _die_in(options.shutdown_timeout + _LEAVE_AFTER_S)
                for message in messages or ():
                    run.stop("stopped", message["stop"])
    summary = handle.join()
    link.say(end=summary.reason, by_handler=run.by_handler)


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
