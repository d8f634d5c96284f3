"""Run tests on a C core that is built with AddressSanitizer and UndefinedBehaviorSanitizer.

``python -m tests.sanitize [ARGUMENT...]`` passes the arguments to pytest. If the arguments name no tests, the tests of
the C core run. First, the program plants three faults in the C sources, each in a separate build. The sanitizers must
report each fault. This proves that the tests run the core's code and that the sanitizers check this code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .built_core import COMPILER, ROOT, Changes, build

# With this option, undefined behaviour executes an illegal instruction, and AddressSanitizer reports its line. The
# library that gcc provides for undefined behaviour writes only to standard error, which pytest captures.
OPTIONS = [
    *("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"),
    *("-fno-sanitize-recover=all", "-fsanitize-undefined-trap-on-error"),
]
# Make buffers as small as possible, so that an index out of bounds cannot point to spare capacity.
EXACT = {"scan.c": ("int64_t cap = b->cap * 2 > len ? b->cap * 2 : len + 15;", "int64_t cap = len;")}
TESTS = [
    "tests/scan",
    "tests/conformance",
    "tests/fault/test_gathered_commits.py",
    "tests/fault/test_gathering_ends.py",
    "tests/fault/test_damage.py",
    "tests/process/test_lost_bell.py",
    "tests/process/test_waking.py",
]
# Planted faults: the expected report, the change of the source, and a test that runs the changed lines.
FAULTS: list[tuple[str, Changes, str]] = [
    (
        "heap-buffer-overflow",
        {"scan.c": ("i < lanes_len && limit > 0", "i <= lanes_len && limit > 0")},
        "tests/scan/test_same_answers.py",
    ),
    (
        "AddressSanitizer: ILL",  # an overflow of a signed integer
        {"scan.c": ("(uint64_t)b->first.next_at - (uint64_t)a->first.next_at", "b->first.next_at - a->first.next_at")},
        "tests/scan/test_order.py",
    ),
    (
        "heap-buffer-overflow",
        {"wal_file.c": (" && len <= HELD_MAX - commit->held_len;", ";")},
        "tests/fault/test_gathered_commits.py",
    ),
]


def main(*arguments: str) -> int:
    """Return 0 if each planted fault was reported and all tests passed."""
    runtime = find_runtime()
    if runtime is None:
        print("the core is not tested with sanitizers: needs gcc and SQLite's and Python's headers")
        return int(os.environ.get("SQLITE_CLAIMS_REQUIRE_C") == "1")
    with tempfile.TemporaryDirectory() as folder:
        for number, (report, changes, test) in enumerate(FAULTS):
            began = time.monotonic()
            run = Run(runtime, Path(folder, str(number)), changes, "-n", "0", "-x", test, quiet=True)
            if run.passed or report not in run.reports:
                print(f"not reported: {report}, planted in {', '.join(changes)}\n{run.output}{run.reports}")
                return 1
            [summary] = [line for line in run.reports.splitlines() if line.startswith("SUMMARY: ")]
            print(f"planted fault reported in {time.monotonic() - began:.0f} s, {summary}", flush=True)
        tests = [] if any(argument.startswith("tests/") for argument in arguments) else TESTS
        run = Run(runtime, Path(folder, "core"), EXACT, *arguments, *tests)
    print(run.reports, end="")
    return 0 if run.passed and not run.reports else 1


def find_runtime() -> str | None:
    """Return the path of AddressSanitizer's shared library, or ``None`` if the core cannot be built with it here."""
    if subprocess.run([ROOT / "scripts" / "has-c-toolchain"], check=False).returncode:
        return None
    command = [*COMPILER, "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return path if Path(path).is_absolute() else None  # a bare name means that the library is missing, as with clang


class Run:
    """One run of pytest on a build of the core."""

    def __init__(self, runtime: str, folder: Path, changes: Changes, *arguments: str, quiet: bool = False) -> None:
        """Build the core in a new folder and run pytest. ``runtime`` is the sanitizers' shared library."""
        folder.mkdir()
        environment = build(folder, OPTIONS, changes) | {
            "LD_PRELOAD": runtime,  # necessary because Python itself is not linked to the library
            # handle_*=2 keeps Python's faulthandler from replacing the signal handler, and the core has a separate
            # handler of bus errors. Leaks are not checked, because CPython does not free all its memory at exit.
            "ASAN_OPTIONS": f"log_path={folder / 'report'}:abort_on_error=1:detect_stack_use_after_return=1"
            ":handle_segv=2:handle_sigill=2:handle_sigbus=0:detect_leaks=0",
            "PYTHONMALLOC": "malloc",  # makes each of Python's buffers a separate allocation with checked bounds
            "SQLITE_CLAIMS_REQUIRE_C": "1",
            "SQLITE_CLAIMS_TEST_STORES": "sqlite-c",
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        output = subprocess.PIPE if quiet else None
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True, check=False
        )
        self.passed = done.returncode == 0
        self.output = done.stdout
        # The reports of all processes, including the processes that the tests started.
        self.reports = "".join(path.read_text(errors="replace") for path in sorted(folder.glob("report.*")))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
