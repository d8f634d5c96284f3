"""Run SQLite's own tests with and without csrc/wal_file.c, and compare the results.

``python -m tests.sqlite_suite.run FOLDER`` downloads the source package of SQLite from Debian, builds SQLite's test
program in the folder, and runs the tests of the -wal, savepoints, the pager, crashes, faults and damaged files. Then it
runs apsw's own tests with and without the VFS. The exit status is 1 if a difference has no explanation below.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from . import build

_FILES = """
wal wal2 wal3 wal4 wal5 wal6 wal7 wal8 wal9 wal64k walbak walblock walcksum walfault walfault2 walhook walmode walnoshm
waloverwrite walpersist walprotocol walprotocol2 walro walro2 walrofault walshared walthread walvfs e_wal e_walauto
e_walckpt e_walhook nockpt snapshot snapshot2 snapshot3 snapshot4 snapshot_fault snapshot_up superlock shmlock sync2
cacheflush cachespill busy2 resetdb delete_db corruptL zerodamage savepoint savepoint2 savepoint5 savepoint7
savepointfault pager1 pager3 pager4 pageropt pagerfault pagerfault2 pagerfault3 backup2 backup4 backup5 hook hook2
corrupt corrupt2 corrupt3 corrupt4 corrupt5 corrupt6 corrupt7 corrupt8 corrupt9 corruptA corruptB corruptC corruptD
corruptE corruptF corruptG corruptH corruptI corruptJ corruptK corruptM corruptN crash crash2 crash3 crash4 crash5
crash6 crash7 crash8 crashM ioerr ioerr2 ioerr3 ioerr4 ioerr5 ioerr6
"""
_SLOW = "walslow walcrash3 pager2 savepoint4 savepoint6 walbig"
_CRASHES = "walcrash walcrash2 walcrash4"
_IN_WAL_MODE = "savepoint savepoint2 trans avtrans"
# The number of tests in this file is random, without wal_file.c, too.
_RANDOM = {"crash"}


class Variant(NamedTuple):
    """One way in which all tests run."""

    ours: bool
    environment: dict[str, str]


PLAIN = "plain"
VARIANTS = {
    PLAIN: Variant(False, {}),
    "gathered": Variant(True, {}),
    "gathered and extended": Variant(True, {"CLAIMS_TEST_GROWS": "1"}),
}
# The simulated disk of the crash tests lacks the property POWERSAFE_OVERWRITE, so a store would not gather there.
CRASH_VARIANTS = {
    PLAIN: Variant(False, {}),
    "gathered": Variant(True, {"CLAIMS_TEST_ANY_DISK": "1"}),
    "gathered and extended": Variant(True, {"CLAIMS_TEST_ANY_DISK": "1", "CLAIMS_TEST_GROWS": "1"}),
}

_LENGTH = "the test reads the length of the -wal, which is extended with zeros"
# Tests whose result differs from the result without wal_file.c: the variant, the test, and the explanation.
EXPLAINED = {
    ("gathered and extended", "wal3-1.0"): _LENGTH,
    ("gathered and extended", "waloverwrite-1.1.7"): _LENGTH,
    ("gathered and extended", "waloverwrite-1.2.7"): _LENGTH,
    ("gathered and extended", "walro-1.4.4.1"): _LENGTH,
}


class Result(NamedTuple):
    """The result of one file of tests. ``tests`` is 0 if the file did not end within the time limit."""

    tests: int
    failed: frozenset[str]
    output: str


class Counts(NamedTuple):
    """What wal_file.c did in all runs of one variant."""

    installed: int
    commits: int
    pieces: int
    writes: int
    held: int
    failures: int


def run_file(program: Path, command: Sequence[str], variant: Variant, counts: Path, limit_s: float) -> Result:
    """Run one file of tests in an empty folder."""
    environment = {**os.environ, **variant.environment, "CLAIMS_TEST_COUNTS": str(counts)}
    with tempfile.TemporaryDirectory(prefix="sqlite-tests-") as folder:
        # The tests open the program again by this name.
        shutil.copy(program, Path(folder, "testfixture"))
        try:
            done = subprocess.run(
                ["./testfixture", *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired as error:
            return Result(0, frozenset(), (error.stdout or b"").decode(errors="replace"))
    output = done.stdout.decode(errors="replace")
    ended = re.search(r"(\d+) errors out of (\d+) tests", output)
    failed = re.search(r"^!Failures on these tests: (.*)$", output, re.MULTILINE)
    names = frozenset(failed[1].split()) if failed else frozenset()
    if not ended:
        return Result(0, names | {f"exit status {done.returncode}"}, output)
    return Result(int(ended[2]), names, output)


def read_counts(path: Path) -> Counts:
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [[int(number) for number in line.split()] for line in lines]
    return Counts(*(sum(column) for column in zip(*rows, strict=True))) if rows else Counts(0, 0, 0, 0, 0, 0)


class Work(NamedTuple):
    """One file of tests, with the arguments of SQLite's test program and the variants in which the file is run."""

    name: str
    command: list[str]
    variants: dict[str, Variant]


Results = dict[tuple[str, str], Result]
"""The results by the name of the file and the variant."""


def all_work(tests: Path, only: list[str], slow: bool) -> list[Work]:
    names = _FILES.split() + (_SLOW.split() if slow else [])
    work = [Work(name, [str(tests / f"{name}.test")], VARIANTS) for name in names]
    work += [Work(name, [str(tests / f"{name}.test")], CRASH_VARIANTS) for name in _CRASHES.split()]
    permutations = str(tests / "permutations.test")
    for name in _IN_WAL_MODE.split():
        work.append(Work(f"{name} in WAL mode", [permutations, "wal", f"{name}.test"], VARIANTS))
    return [item for item in work if not only or item.name in only]


def run_all(
    work: list[Work], programs: tuple[Path, Path], counts: dict[str, Path], jobs: int, limit_s: float
) -> Results:
    """Run all files of tests in all variants."""
    results: Results = {}

    def run(item: Work, label: str) -> None:
        variant = item.variants[label]
        result = run_file(programs[variant.ours], item.command, variant, counts[label], limit_s)
        results[item.name, label] = result
        print(f"{item.name}, {label}: {result.tests} tests", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(run, item, label) for item in work for label in item.variants]:
            future.result()
    return results


def differences(name: str, label: str, plain: Result, ours: Result) -> list[str]:
    """Print how the result of one file differs from the result without wal_file.c. Return the differences that have no
    explanation."""
    if not ours.tests:
        return [f"{name}, {label}: did not end\n{ours.output[-1000:]}"]
    unexplained = []
    for test in sorted(ours.failed ^ plain.failed):
        reason = EXPLAINED.get((label, test))
        print(f"{name}, {label}: {test} differs: {reason}")
        if reason is None:
            unexplained.append(f"{name}, {label}: {test} differs")
    if ours.tests != plain.tests:
        # The tests of faults make each write and each allocation fail once. With gathered commits, there are fewer
        # writes and other allocations.
        print(f"{name}, {label}: {ours.tests} tests instead of {plain.tests}")
        if "fault" not in name and name not in _RANDOM:
            unexplained.append(f"{name}, {label}: {ours.tests} tests instead of {plain.tests}")
    return unexplained


def compare(work: list[Work], results: Results, counts: dict[str, Path]) -> list[str]:
    """Print the results. Return the differences that have no explanation."""
    unexplained = []
    for item in work:
        plain = results[item.name, PLAIN]
        if not plain.tests:
            print(f"{item.name}: no result without wal_file.c: {plain.output[-300:]}")
            continue
        if plain.failed:
            print(f"{item.name}: fails without wal_file.c: {' '.join(sorted(plain.failed))}")
        for label in item.variants:
            unexplained += differences(item.name, label, plain, results[item.name, label])
    for label, variant in VARIANTS.items():
        ended = [results[item.name, label] for item in work if results[item.name, label].tests]
        tests, failed = sum(result.tests for result in ended), sum(len(result.failed) for result in ended)
        print(f"{label}: {len(ended)} files, {tests} tests, {failed} failed")
        if variant.ours:
            found = read_counts(counts[label])
            print(f"  {found}")
            if found.held or found.failures:
                unexplained.append(f"{label}: held bytes after a commit, or an impossible state")
            if not found.writes and any(item.name == "wal" for item in work):
                unexplained.append(f"{label}: no gathered commit")
    return unexplained


APSW = """
import sys, unittest
import apsw, apsw.tests.__main__ as tests
tests.setup()
if sys.argv.pop(1) == "ours":
    from sqlite_claims.sqlite import c_core
    apsw.set_default_vfs(c_core.vfs())
unittest.main(module=tests, argv=[sys.argv[0], "APSW"])
"""


def compare_apsw(limit_s: float) -> list[str]:
    """Run apsw's tests without and with the VFS as the default. apsw opens its own connections, so the VFS passes all
    writes on and gathers nothing."""
    results = []
    for kind in (PLAIN, "ours"):
        with tempfile.TemporaryDirectory(prefix="apsw-tests-") as folder:
            environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": str(build.ROOT)}
            command = [sys.executable, "-c", APSW, kind]
            try:
                done = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=limit_s
                )
            except subprocess.TimeoutExpired:
                return [f"apsw, {kind}: slower than {limit_s:g} s"]
        ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
        failed = frozenset(re.findall(r"^(?:ERROR|FAIL): (\w+)", done.stderr, re.MULTILINE))
        results.append((int(ran[1]) if ran else 0, failed, done.stderr))
        print(f"apsw, {kind}: {results[-1][0]} tests, failed: {sorted(failed)}", flush=True)
    (plain, plain_failed, _), (ours, ours_failed, output) = results
    return [] if (plain, plain_failed) == (ours, ours_failed) and plain else [f"apsw differs\n{output[-2000:]}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the sources and the programs, which are kept")
    parser.add_argument("tests", nargs="*", help="only these files of tests, and apsw's tests if 'apsw' is among them")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one file of tests")
    parser.add_argument("--slow", action="store_true", help="also the files that take many minutes")
    options = parser.parse_intermixed_args()
    if reason := build.missing():
        print(f"SQLite's own tests are skipped: {reason}")
        return 0
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    unexplained = []
    if options.tests != ["apsw"]:
        work = all_work(folder / "source" / "test", options.tests, options.slow)
        counts = {label: folder / f"counts-{label.replace(' ', '-')}" for label in VARIANTS}
        for path in counts.values():
            path.unlink(missing_ok=True)
        try:
            programs = build.build(folder)
        except build.DownloadError as error:
            print(f"SQLite's own tests are skipped: {error}")
            return 0
        results = run_all(work, programs, counts, options.jobs, options.limit)
        unexplained += compare(work, results, counts)
    if not options.tests or "apsw" in options.tests:
        unexplained += compare_apsw(options.limit)
    for difference in unexplained:
        print(f"NOT EXPLAINED: {difference}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
