"""The main program of a worker process of a pool.

The process exchanges messages with its supervisor over one socket (``control_channel``). Log records use a second
socket (``log_lines``), so that many log records do not delay a message. If the control socket is closed, the supervisor
is dead, so the process stops.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import resource
import selectors
import socket
import sys
import threading

from ..opening import open_store
from ..sqlite.store import SqliteClaimStore
from . import child_config, importing
from .child_config import ChildConfig
from .control_channel import ControlChannel, Ended, Failed, HasTimeout, Ready, Stage, Stop
from .execute import describe
from .handle import WorkerHandle
from .log_lines import LogSender
from .registry import HandlerTable
from .scoreboard import Scoreboard
from .signals import Signals
from .task_log import log
from .worker_loop import WorkerLoop

# If the supervisor is dead, the process exits this many seconds after the deadline of the running tasks.
_EXIT_AFTER_S = 5.0
# If a handler has closed the descriptors that wake the main thread, the main thread notices this within _POLL_S
# seconds.
_POLL_S = 5.0


def main(fields: object) -> None:
    """Run the worker process. ``fields`` is the configuration, a value that ``json.loads`` has returned. Exit with
    status 1 if the process cannot run tasks."""
    config = child_config.decode(fields)
    control = ControlChannel(_socket(config.control_fd))
    _set_up_logging(config)
    sys.argv[:] = config.sys_argv
    if sys.stderr is not None:
        faulthandler.enable()
    loop: WorkerLoop | None = None
    with Signals() as signals:
        stage: Stage = "handlers"
        try:
            handlers = _import_handlers(config)
            stage = "store"
            with open_store(config.pool.path, **config.pool.store_options) as store:
                stage = "run"
                loop = _make_loop(config, control, store, handlers)
                _work(config, control, loop, signals)
        except importing.UnguardedError as error:
            control.send(Failed(stage="main file", text=str(error)))
            sys.exit(1)
        except BaseException as error:  # noqa: BLE001 - the supervisor shows the error
            if loop is not None and loop.is_starting:
                stage = "lifespan"
            text = describe(error)
            if not control.send(Failed(stage=stage, text=text)):
                error_line = text.partition("\n")[0]
                sys.exit(f"sqlite_claims: worker process {os.getpid()} cannot report its error: {error_line}")
            sys.exit(1)


def _socket(descriptor: int) -> socket.socket:
    """Return the socket of an inherited descriptor. Commands that a handler starts do not inherit the descriptor.

    The socket is closed at exit, after the exit functions of the handlers' modules, because those functions may still
    write log records.
    """
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    atexit.register(end.close)
    return end


def _set_up_logging(config: ChildConfig) -> None:
    logging.getLogger().addHandler(LogSender(_socket(config.log_fd)))
    logging.disable(config.pool.log_disabled_level)
    for name, level in config.pool.log_levels.items():
        logging.getLogger(name or None).setLevel(level)


def _import_handlers(config: ChildConfig) -> HandlerTable:
    paths, adapter = config.pool.handlers, config.pool.adapter
    with importing.for_handlers(config.pool.main_file):
        if isinstance(paths, str):
            imported = importing.load(paths)
        else:
            imported = {kind: importing.load(path) for kind, path in paths.items()}
        return HandlerTable(importing.load(adapter)(imported) if adapter else imported)


def _make_loop(
    config: ChildConfig, control: ControlChannel, store: SqliteClaimStore, handlers: HandlerTable
) -> WorkerLoop:
    options = config.options()
    scoreboard = Scoreboard(config.scoreboard_fd, options.concurrency)
    os.close(config.scoreboard_fd)
    max_bytes = config.pool.max_memory_bytes
    return WorkerLoop(
        store,
        handlers,
        options,
        until_idle=config.pool.until_idle,
        scoreboard=scoreboard,
        max_tasks=config.pool.max_tasks,
        exceeds_memory=None if max_bytes is None else lambda: memory_used() > max_bytes,
        on_start=lambda: control.send(Ready()),
        on_timeout=lambda timeout_s: control.send(HasTimeout(timeout_s)),
    )


def _work(config: ChildConfig, control: ControlChannel, loop: WorkerLoop, signals: Signals) -> None:
    options = config.options()
    handle = WorkerHandle(loop, "claims-worker", options.shutdown_timeout)
    try:
        _wait_for_end(handle, loop, control, signals, options.shutdown_timeout)
    except OSError as error:  # the process can no longer receive messages or signals
        loop.stop("stopped", options.shutdown_timeout)
        log.warning("worker %s stops, because a handler has closed its descriptors: %s", options.worker_id, error)
    summary = handle.join()
    control.send(
        Ended(
            reason=summary.reason,
            by_handler=loop.stopped_by_handler,
            abandoned_handlers=loop.abandoned_handlers,
        )
    )


def _wait_for_end(
    handle: WorkerHandle, loop: WorkerLoop, control: ControlChannel, signals: Signals, shutdown_timeout_s: float
) -> None:
    """Wait until the worker has ended. Stop the worker when a signal or a ``Stop`` message arrives."""
    with handle.announced_on(signals), selectors.DefaultSelector() as selector:
        selector.register(signals, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        while not handle.done:
            ready = {event.fileobj for event, _ in selector.select(_POLL_S)}
            if signals in ready and signals.came():
                loop.stop("interrupted", shutdown_timeout_s)
            if control in ready:
                for message in control.receive() or ():
                    if isinstance(message, Stop):
                        loop.stop("stopped", message.timeout_s)
                if control.ended:
                    selector.unregister(control)
                    loop.stop("stopped", shutdown_timeout_s)
                    _exit_after(shutdown_timeout_s + _EXIT_AFTER_S)


def _exit_after(delay_s: float) -> None:
    timer = threading.Timer(delay_s, os._exit, (1,))
    timer.daemon = True
    timer.start()


def memory_used() -> int:
    """Return the number of bytes of memory that this process uses now. On systems without ``/proc``, return the largest
    number of bytes that the process has used so far."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
