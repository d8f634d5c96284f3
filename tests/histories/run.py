"""Run workers on one file and disturb the workers by kills, by stops that are longer than the lease, by full disks and
by forks."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlite_claims import NewTask, RetryPolicy, SqliteClaimStore, TaskState

from . import checker, worker

LEASE_S = 0.4
_STOP_S = (0.1, 1.0)  # one stop is shorter than the lease, and one is longer
_FULL_S = 0.5
# A process with a log of this length has made about a dozen calls.
_AT_WORK_BYTES = 2000
_INSTANCE = "history"
_MANY = 1_000_000


@dataclass(slots=True)
class Told:
    """The numbers that a run reports."""

    faults: list[str] = field(default_factory=list)
    processes: int = 0
    killed: int = 0
    stopped: int = 0
    filled: int = 0
    calls: int = 0
    unknown: int = 0
    granted: int = 0
    lost: int = 0
    refused: int = 0
    completed: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name):,}" for name in self.__slots__ if name != "faults")


class Run:
    """One file, its processes, and the faults that are injected."""

    def __init__(self, store: Path, logs: Path, seed: int) -> None:
        """
        Args:
            store: Path of the file. To test full disks, the file is on a separate small file system.
            logs: Folder for the logs of the processes.
            seed: Seed of all random choices. The seed does not determine the timing of the processes.
        """
        self.path, self.logs = store, logs
        self.draw = random.Random(seed)
        self.told = Told()
        self.killed: dict[int, int] = {}
        self.running: dict[Path, subprocess.Popen[bytes]] = {}
        self.paused: list[tuple[float, subprocess.Popen[bytes]]] = []
        self.filler = store.with_name("filler")
        self.empties_at = 0.0
        # Every process, also a forked process, inherits the write end of this pipe. When the last process has ended,
        # the read end reports the end of the file.
        self.last_ends, self.held = os.pipe()

    def __call__(self, processes: int, tasks: int, *, kills: int, fills: bool, seconds: float = math.inf) -> Told:
        """Run until the given number of working processes has been killed or the time is over. Then check the logs."""
        policy = RetryPolicy(0, 1, 0, 0)
        with SqliteClaimStore(self.path, durability="process") as store:
            for first in range(0, tasks, 10_000):
                names = range(first, min(tasks, first + 10_000))
                added = [NewTask(f"t{n}", max_attempts=_MANY, max_lost=_MANY, retry=policy) for n in names]
                store.add_instance(f"{_INSTANCE}-{first}", added)
        try:
            self._make_trouble(processes, kills, time.monotonic() + seconds, fills=fills)
        finally:
            self._end()
        with SqliteClaimStore(self.path, create=False) as store:
            ended = store.list_tasks(states=[TaskState.COMPLETED])
            completed = {task.task_id: (task.output or b"").decode() for task in ended}
            self.told.faults += store.check()
        self._judge(completed)
        return self.told

    def _start(self) -> None:
        self.told.processes += 1
        number = self.told.processes
        log = self.logs / f"{number}"
        command = [sys.executable, worker.__file__, str(self.path), str(log), f"{number}", f"{LEASE_S}"]
        self.running[log] = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[self.held])

    def _make_trouble(self, processes: int, kills: int, until: float, *, fills: bool) -> None:
        while self.told.killed < kills and time.monotonic() < until:
            for log, process in list(self.running.items()):
                if process.poll() is not None:
                    process.communicate()
                    del self.running[log]
            while len(self.running) < processes:
                self._start()
            self._go_on(time.monotonic())
            time.sleep(self.draw.uniform(0.0, 0.1))
            at_work = [log for log in self.running if log.exists() and log.stat().st_size > _AT_WORK_BYTES]
            if not at_work:
                continue
            trouble, log = self.draw.random(), self.draw.choice(at_work)
            if trouble < 0.4:
                self._kill(self.running.pop(log))
            elif trouble < 0.7:
                self._stop(self.running[log])
            elif trouble < 0.9 and fills and not self.filler.exists():
                self._fill()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        # Note the time before the signal is sent, since other processes can see its effects only later.
        self.killed[process.pid] = time.monotonic_ns()
        process.kill()
        process.communicate()  # also closes the standard input of the process
        self.told.killed += 1

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGSTOP)
        self.paused.append((time.monotonic() + self.draw.choice(_STOP_S), process))
        self.told.stopped += 1

    def _fill(self) -> None:
        self.told.filled += 1
        self.empties_at = time.monotonic() + _FULL_S
        with open(self.filler, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def _go_on(self, now: float) -> None:
        for at, process in self.paused:
            if at <= now and process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.paused = [(at, process) for at, process in self.paused if at > now]
        if self.filler.exists() and self.empties_at <= now:
            self.filler.unlink()

    def _end(self) -> None:
        self._go_on(math.inf)
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self.running.values():
            process.communicate()
        os.close(self.held)
        os.read(self.last_ends, 1)
        os.close(self.last_ends)

    def _judge(self, completed: dict[str, str]) -> None:
        seen = [checker.read(log) for log in self.logs.iterdir()]
        calls = [call for log in seen for call in log.calls]
        gone = {log.pid: log.gone for log in seen} | self.killed
        told = self.told
        told.calls = len(calls)
        told.granted = sum(len(call.granted) for call in calls)
        told.unknown = sum(not call.outcome for call in calls)
        told.lost = sum(call.outcome == "lost" for call in calls)
        told.refused = sum(call.outcome == "refused" for call in calls)
        told.completed = len(completed)
        told.faults += checker.History(calls, gone, completed).faults()
