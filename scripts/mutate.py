"""Change the code in one place at a time, and report the changes that no test detects.

Each changed version of the code is called a mutant. The script makes the change in a copy of the source tree, and runs
the package's tests in the copy until the first failure. If all tests pass, the mutant survives. A surviving mutant
shows that no test requires the original behaviour, or that the code has no effect. For each package, the script selects
a number of random mutants, chosen by the seed. If a test run hangs, the mutant counts as killed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Package(NamedTuple):
    """The files that are changed, the tests to run, and the stores on which the conformance tests run."""

    files: str
    tests: str
    stores: str = "sqlite-c"


PACKAGES = {
    "operations": Package(
        "sqlite/operations/*.py",
        "conformance unit/test_lanes.py unit/test_store_time.py unit/test_growth.py fault/test_check.py"
        " process/test_own_lanes.py process/test_waking.py",
    ),
    "memory": Package("memory/*.py memory/*/*.py", "conformance", "memory"),
    "scan": Package("sqlite/scan/*scanner.py", "scan conformance/test_order.py", "sqlite-python"),
    "arguments": Package("validate.py arguments.py front/*.py", "unit/test_validate.py conformance", "memory"),
    "workers": Package(
        "workers/worker_loop.py workers/slot.py workers/result_writer.py workers/execute.py workers/idle.py"
        " workers/options.py workers/registry.py workers/checkpointing.py",
        "workers",
    ),
    "pool": Package(
        "workers/supervisor.py workers/pool.py workers/process.py workers/child.py workers/c*_channel.py"
        " workers/descendants.py workers/scoreboard.py workers/log_*.py workers/importing.py",
        "workers process/test_pool_work.py process/test_pool_deaths.py process/test_pool_stops.py"
        " process/test_pool_channels.py process/test_pool_logs.py",
    ),
}

SWAPPED: dict[type[ast.AST], ast.AST] = {
    ast.Eq: ast.NotEq(), ast.NotEq: ast.Eq(), ast.Lt: ast.LtE(), ast.LtE: ast.Lt(), ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(), ast.Is: ast.IsNot(), ast.IsNot: ast.Is(), ast.In: ast.NotIn(), ast.NotIn: ast.In(),
    ast.And: ast.Or(), ast.Or: ast.And(), ast.Add: ast.Sub(), ast.Sub: ast.Add(),
}  # fmt: skip
# Syntax nodes that are not changed: error and log texts, imports, type annotations and assertions.
LEFT_ALONE = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.AnnAssign)


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {' '.join(self.before.split())} -> {self.after}"


def mutants(file: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file."""
    source = file.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _nodes(ast.parse(source)):
        for part, changed in _changes(node):
            begin = starts[part.lineno - 1] + part.col_offset
            end = starts[(part.end_lineno or 0) - 1] + (part.end_col_offset or 0)
            text = source[:begin] + changed.encode() + source[end:]
            name = str(file.relative_to(ROOT))
            yield Mutant(name, part.lineno, source[begin:end].decode(), changed, text.decode())


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, LEFT_ALONE):
                yield from _nodes(child)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield the parts of a node that can be replaced, each with its replacement."""
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in SWAPPED:
            yield node, f"({ast.unparse(ast.Compare(left, [SWAPPED[type(op)]], [right]))})"  # type: ignore[list-item]
        case ast.BoolOp(op, values):
            yield node, f"({ast.unparse(ast.BoolOp(SWAPPED[type(op)], values))})"  # type: ignore[arg-type]
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield node, f"({ast.unparse(ast.BinOp(left, SWAPPED[type(op)], right))})"  # type: ignore[arg-type]
        case ast.If(test) | ast.While(test) | ast.IfExp(test):
            # If a condition is a single comparison, the branch above for comparisons negates the condition.
            if ast.unparse(test) != "TYPE_CHECKING" and not isinstance(test, ast.Compare):
                yield test, f"(not ({ast.unparse(test)}))"
        case ast.Constant(bool() as value):
            yield node, str(not value)
        case ast.Constant(int() as value):
            yield node, str(value + 1)
        case ast.Expr(ast.Call(function)) if not ast.unparse(function).startswith(("log", "self._warn")):
            yield node, "pass"
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield value, "None"


class Runner:
    """Tests mutants in copies of the source tree. There is one copy for each parallel job."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self._copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copy = folder / str(number)
            for name in ["sqlite_claims", "tests", "docs", "csrc"]:
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", copy)
            self._copies.put(copy)

    def passes(self, package: Package, timeout_s: float, mutant: Mutant | None) -> bool:
        """Return whether the tests of a package pass on a mutant, or on the unchanged code if ``mutant`` is
        ``None``."""
        copy = self._copies.get()
        environment = dict(os.environ, SQLITE_CLAIMS_TEST_STORES=package.stores, PYTHONPATH=str(copy))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not soak"]
        command += [f"tests/{name}" for name in package.tests.split()]
        if mutant is not None:
            (copy / mutant.file).write_text(mutant.text, "utf-8")
        process = subprocess.Popen(
            command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        try:
            return process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):  # also kill the processes that the tests have started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if mutant is not None:
                shutil.copy(ROOT / mutant.file, copy / mutant.file)
            self._copies.put(copy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=40, help="number of mutants for each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("packages", nargs="*", help=f"packages to test: {', '.join(PACKAGES)}; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as threads:
        runner = Runner(Path(folder), options.jobs)
        for name in options.packages or PACKAGES:
            package = PACKAGES[name]
            files = [file for glob in package.files.split() for file in sorted((ROOT / "sqlite_claims").glob(glob))]
            made = [mutant for file in files for mutant in mutants(file)]
            drawn = random.Random(options.seed).sample(made, min(options.each, len(made)))
            began = time.monotonic()
            if not runner.passes(package, 1800, None):
                sys.exit(f"{name}: the tests fail without any change")
            timeout_s = 30 + 4 * (time.monotonic() - began)
            counts: Counter[bool] = Counter()
            results = threads.map(partial(runner.passes, package, timeout_s), drawn)
            for mutant, survived in zip(drawn, results, strict=True):
                counts[survived] += 1
                if survived:
                    print(f"survived: {mutant}", flush=True)
            print(f"{name}: {len(made)} mutants, {len(drawn)} tested, {counts[False]} killed, {counts[True]} survived")


if __name__ == "__main__":
    main()
