"""Compress files of Python's standard library with two ``sqlite-claims map`` processes that share one store.

The demo kills one of the two processes and the commands that it is running. The second process finishes the work, and
the demo verifies every result. Run the demo with ``python examples/demo.py``. The exit status is 0 only if all results
are correct.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from sqlite_claims import SqliteClaimStore, TaskInfo, TaskState

NAME = "standard-library"
JOBS = 2
FILES_MAX = 400
KILL_AT = 0.4  # the first process is killed when this fraction of the tasks is completed
COMPRESS = Path(__file__).with_name("compress_file.py")
BEGAN = time.monotonic()
NEXT_STEPS = """
To try it yourself (the command is in .venv/bin):

    seq 20 | sqlite-claims map first.db -j 4 -- echo number {}
    sqlite-claims status first.db --all
    sqlite-claims ls first.db
    sqlite-claims map --help

docs/quickstart.md continues from here, also with handlers in Python.
"""


def main() -> int:
    files = standard_library()
    say(f"{len(files)} files of {sysconfig.get_path('stdlib')}, each a task: compress and checksum the file")
    with tempfile.TemporaryDirectory(prefix="sqlite-claims-demo-") as name:
        folder = Path(name)
        (folder / "files.txt").write_bytes(b"".join(os.fsencode(file) + b"\n" for file in files))
        (folder / "compressed").mkdir()
        with SqliteClaimStore(folder / "jobs.db") as store:
            return show(store, folder, files)


def show(store: SqliteClaimStore, folder: Path, files: list[str]) -> int:
    maps = [start_map(folder), start_map(folder)]
    try:
        first, second = maps
        say("the same command is started twice, so two processes share the store jobs.db:")
        show_command(
            "map", "jobs.db", "-j", str(JOBS), "--instance", NAME, "files.txt", "--", *compress_words("compressed")
        )
        say(f"these are the processes {first.pid} and {second.pid}")
        wait_until_done(store, round(KILL_AT * len(files)), first)
        held, killed_at = kill(store, first)
        say(f"process {first.pid} and its running commands are killed (SIGKILL); it held {len(held)} tasks")
        back_after = {file: wait_until_back(store, held[file], first) - killed_at for file in held}
        for file, after in back_after.items():
            say(f"the task of {Path(file).name} is ready again, {after:.2f} s after the kill")
        run_command(folder, "status", "jobs.db")
        wait_until_done(store, len(files), second)
        statuses = [second.wait()]
        took = time.monotonic() - BEGAN
        say(f"process {second.pid} has finished, with status {statuses[0]}")
        maps.append(start_map(folder))
        statuses.append(maps[-1].wait())
        say(f"the same command, run a third time, finds no open task: status {statuses[1]}")
        if held:
            run_command(folder, "show", "jobs.db", NAME, next(iter(held.values()))[:12])
    finally:
        for process in maps:
            process.kill()
            process.wait()

    tasks = {os.fsdecode(task.input): task for task in store.list_tasks(NAME)}
    print()
    for process in (first, second):
        print(f"process {process.pid} did {sum(task.worker_id == worker_of(process) for task in tasks.values())} tasks")
    print(f"{len(tasks) / took:.0f} tasks a second, in {took:.1f} s")

    wrong = [] if statuses == [0, 0] else [f"the processes ended with the statuses {statuses}"]
    wrong += verify(tasks, files, held, folder / "compressed")
    for problem in wrong[:20]:
        print(f"WRONG: {problem}")
    if not wrong:
        print(f"all {len(tasks)} results verified: no result is missing, and only the interrupted tasks ran twice")
        print(NEXT_STEPS, end="")
    return 1 if wrong else 0


def standard_library() -> list[str]:
    """Return the paths of some of the standard library's Python files, without tests and installed packages."""
    found = []
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in {"site-packages", "dist-packages", "test", "tests"}]
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)[:FILES_MAX]


def compress_words(folder: str) -> list[str]:
    # With -S and -E, Python ignores site-packages and environment variables, so Python starts faster.
    return ["python3", "-S", "-E", COMPRESS.name, "{}", folder]


def start_map(folder: Path) -> subprocess.Popen[bytes]:
    options = ["--quiet", "-j", str(JOBS), "--instance", NAME, "files.txt"]
    command = [sys.executable, "-S", "-E", str(COMPRESS), "{}", "compressed"]
    argv = [sys.executable, "-m", "sqlite_claims", "map", "jobs.db", *options, "--", *command]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=folder)


def show_command(*words: str) -> None:
    """Print a command as a person would type it."""
    command = shlex.join(["sqlite-claims", *words]).replace("'{}'", "{}")
    print(f"\n    $ {command}\n", flush=True)


def run_command(folder: Path, *words: str) -> None:
    """Print a command and its output."""
    show_command(*words)
    argv = [sys.executable, "-m", "sqlite_claims", *words]
    text = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        print(f"    {line}".rstrip())
    print(flush=True)


def worker_of(process: subprocess.Popen[bytes]) -> str:
    return f"map-{process.pid}"


def wait_until_done(store: SqliteClaimStore, number: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``number`` tasks are done, or until the process has ended."""
    reported_at = time.monotonic()
    while (done := store.stats().counts[TaskState.COMPLETED]) < number and process.poll() is None:
        if time.monotonic() - reported_at >= 2:
            reported_at = time.monotonic()
            say(f"{done} done")
        time.sleep(0.02)


def kill(store: SqliteClaimStore, process: subprocess.Popen[bytes]) -> tuple[dict[str, str], float]:
    """Kill the process and its running commands. Return a mapping from each command's file to its task id, and the time
    of the kill."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)  # the stopped process starts no more commands before it is killed
        os.waitpid(process.pid, os.WUNTRACED)
        claimed = store.list_tasks(NAME, states=[TaskState.CLAIMED])
        held = {os.fsdecode(task.input): task.task_id for task in claimed if task.worker_id == worker_of(process)}
        if held:
            break
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.01)
    killed_at = time.monotonic()
    for pid in [*children(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return held, killed_at


def wait_until_back(store: SqliteClaimStore, task_id: str, dead: subprocess.Popen[bytes]) -> float:
    """Wait until the dead process no longer holds the task, and return the current time."""
    while True:
        task = store.get_task(NAME, task_id)
        if task.state is not TaskState.CLAIMED or task.worker_id != worker_of(dead):
            return time.monotonic()
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """Return the ids of the running child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = re.sub(r".*\) ", "", stat.read_text(errors="replace"), flags=re.DOTALL).split()
        except OSError:
            continue  # the process has just ended
        if fields[0] != "Z" and int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def verify(tasks: dict[str, TaskInfo], files: list[str], held: dict[str, str], compressed: Path) -> list[str]:
    """Return a description of every wrong result."""
    wrong = [f"{file}: no task" for file in files if file not in tasks]
    for file, task in tasks.items():
        data = Path(file).read_bytes()
        result = compressed / f"{hashlib.sha256(os.fsencode(file)).hexdigest()}.gz"
        if task.state is not TaskState.COMPLETED or task.output is None:
            wrong.append(f"{file}: {task.state}, {task.error}")
        elif task.output.split()[:2] != [hashlib.sha256(data).hexdigest().encode(), b"%d" % len(data)]:
            wrong.append(f"{file}: its checksum is wrong")
        elif gzip.decompress(result.read_bytes()) != data:
            wrong.append(f"{file}: the compressed data is wrong")
        if (task.attempts, task.losses) != ((2, 1) if file in held else (1, 0)):
            wrong.append(f"{file}: {task.attempts} attempts, {task.losses} lost")
    return wrong


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.1f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
