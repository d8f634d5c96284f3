"""Each system call of each public operation fails once, and SQLite's memory runs out at each place: the error is ours,
nothing is half done, nothing acknowledged is missing, and the same store goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sqlite_claims.sqlite.scan import core_available

from ..tiers import first_is_fast
from . import each_call

# Of each kind of call that an operation makes; the soak test takes nearly all of them.
EACH_MAX = 4
EACH_MAX_SOAK = 60
GROUPS = 4


def try_each(injector: Path, folder: Path, durability: str, core: str, each_max: int, names: list[str]) -> Counter[str]:
    """Run the trials in a process of their own. Returns the faults that were made, by call."""
    ended = subprocess.run(
        [sys.executable, each_call.__file__, injector, folder, durability, core, str(each_max), *names],
        env={**os.environ, "LD_PRELOAD": str(injector), "INJECT_FOLDER": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(ended.stdout)
    assert told["found"] == []
    return Counter(told["made"])


@pytest.mark.parametrize("group", first_is_fast(range(GROUPS)))
def test_an_operation_survives_the_failure_of_each_of_its_calls(injector: Path, folder: Path, group: int) -> None:
    names = list(each_call.OPERATIONS)[group::GROUPS]
    made = try_each(injector, folder, "full", "c" if core_available() else "python", EACH_MAX, names)
    assert made.keys() >= {"open", "read", "write", "sync", "lock", "malloc"}


@pytest.mark.soak
@pytest.mark.parametrize("core", ["c", "python"])
@pytest.mark.parametrize("durability", ["full", "process"])
def test_an_operation_survives_the_failure_of_nearly_each_of_its_calls(
    injector: Path, folder: Path, durability: str, core: str
) -> None:
    if core == "c" and not core_available():
        pytest.skip("the C core is not built")
    made = try_each(injector, folder, durability, core, EACH_MAX_SOAK, list(each_call.OPERATIONS))
    print(f"{sum(made.values()):,} faults: {dict(made)}")
