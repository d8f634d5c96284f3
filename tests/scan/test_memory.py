"""The C scan in a separate program that is built with sanitizers. Each allocation fails once."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..tiers import first_is_fast
from .tables import STATEMENTS, Row, in_order, table

CSRC = Path(__file__).parents[2] / "csrc"
COMPILE = [
    *(os.environ.get("CC") or "cc").split(),
    *("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-DSQLITE_CORE"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
]


@pytest.fixture(scope="session")
def check_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the program and return its path."""
    folder = tmp_path_factory.mktemp("check_scan")
    probe = folder / "probe.c"
    probe.write_text("#include <sqlite3ext.h>\nint main(void) { return sqlite3_libversion_number() == 0; }\n")
    try:
        built = subprocess.run(
            [*COMPILE, str(probe), "-o", str(folder / "probe"), "-lsqlite3"],
            capture_output=True,
            text=True,
            check=False,
        )
        missing = built.stderr if built.returncode else ""
    except FileNotFoundError as error:
        missing = str(error)
    if missing and os.environ.get("SQLITE_CLAIMS_REQUIRE_C") != "1":
        pytest.skip("needs a C compiler with sanitizers, and libsqlite3 with its headers")
    sources = [str(CSRC / name) for name in ("check_scan.c", "scan.c")]
    subprocess.run([*COMPILE, *sources, "-o", str(folder / "check_scan"), "-lsqlite3"], check=True)
    return folder / "check_scan"


def run(
    program: Path, path: Path, now: int, aging: int | None, limit: int, moving: bool, lanes: Sequence[int]
) -> tuple[list[int], int]:
    """Return the ids that the program found, and the number of allocations that failed."""
    texts = (STATEMENTS.head, STATEMENTS.range, STATEMENTS.instance_state)
    numbers = (now, aging or 0, limit, int(moving), *lanes)
    done = subprocess.run(
        [str(program), str(path), *texts, *map(str, numbers)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    counted = re.search(r"(\d+) allocations failed in turn", done.stderr)
    assert counted is not None, done.stderr
    return [int(line) for line in done.stdout.split()], int(counted[1])


@pytest.mark.parametrize(
    ("aging", "limit", "moving"),
    first_is_fast([(None, 1, False), (None, 150, True), (40, 250, False), (2**63 - 1, 2**31 - 1, True)]),
)
def test_every_failed_allocation_is_told_and_nothing_leaks_or_is_left_under_way(
    tmp_path: Path, check_scan: Path, aging: int | None, limit: int, moving: bool
) -> None:
    random_ = random.Random(1)
    # Each range has more rows than a block holds. Many rows have the same time, and some are not due.
    rows = [
        Row(i, random_.randint(1, 4), random_.randint(2, 3), random_.choice([1, 1, 2, 70, 200]), random_.randint(1, 2))
        for i in range(1, 700)
    ]
    path = tmp_path / "a.db"
    table(path, rows, {2: 1}).close()
    ids, failed = run(check_scan, path, 100, aging, limit, moving, range(1, 4))
    assert ids == in_order(rows, range(1, 4), 100, aging, limit, {2} if moving else ())
    assert failed > 10


def test_an_empty_store_and_a_limit_of_0_are_clean_too(tmp_path: Path, check_scan: Path) -> None:
    path = tmp_path / "a.db"
    table(path, []).close()
    assert run(check_scan, path, 100, None, 10, True, [1, 2])[0] == []
    assert run(check_scan, path, 100, 5, 0, True, [1, 2])[0] == []
    assert run(check_scan, path, 100, 5, 10, True, [])[0] == []
