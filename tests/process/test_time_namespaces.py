"""Containers with shifted clocks and processes with the machine's clocks use the same file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sqlite_claims import SqliteClaimStore, TaskState

from ..tiers import first_is_fast
from .children import Start


def shifted(awake: int, boot: int) -> tuple[str, ...]:
    return ("unshare", "--time", "--fork", "--kill-child", "--monotonic", str(awake), "--boottime", str(boot))


def can_shift() -> bool:
    try:
        return subprocess.run([*shifted(1, 1), "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


with_namespaces = pytest.mark.skipif(not can_shift(), reason="time namespaces can't be made here")

HOLD = """
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("held"), NewTask("free")], if_exists="skip")
claim = store.claim_task("i", "held", "holder", 3600)
say("holds", claim.task_id)
hear()
store.complete_task(claim)
say("completed", claim.is_expired(), SqliteClaimStore(args[0]).get_task("i", "held").losses)
"""
LOOK = """
store = SqliteClaimStore(args[0])
say("held", *[3000 < claim.remaining() <= 3600 for claim in store.list_claims()])
say("claims", *[work.task.task_id for work in store.claim_available_tasks("looker", 5, 60)])
"""


@with_namespaces
@pytest.mark.parametrize(("awake", "boot"), first_is_fast([(86400, 86400), (0, 86400), (86400, 0), (-3, -3), (0, -3)]))
@pytest.mark.parametrize("holder_is_shifted", first_is_fast([False, True]))
def test_leases_mean_the_same_in_a_time_namespace_and_outside(
    start: Start, tmp_path: Path, awake: int, boot: int, holder_is_shifted: bool
) -> None:
    within = [(), shifted(awake, boot)]
    holder = start(HOLD, tmp_path / "jobs.db", within=within[holder_is_shifted])
    holder.says("holds", "held")
    looker = start(LOOK, tmp_path / "jobs.db", within=within[not holder_is_shifted])
    looker.says("held", True)
    looker.says("claims", "free")
    looker.end()
    holder.tell()
    holder.says("completed", False, 0)
    holder.end()


@with_namespaces
def test_a_child_that_is_forked_into_a_time_namespace_goes_by_the_machines_clocks(start: Start, tmp_path: Path) -> None:
    forking = start(
        """
import ctypes
store = SqliteClaimStore(args[0])
store.add_instance("i", [NewTask("t")])
assert store.claim_task("i", "t", "parent", 600)
assert ctypes.CDLL(None).unshare(0x80) == 0  # CLONE_NEWTIME: a new time namespace for children
with open("/proc/self/timens_offsets", "w") as offsets:
    offsets.write("boottime 86400 0\\nmonotonic 86400 0\\n")
boot = time.clock_gettime(time.CLOCK_BOOTTIME)
say("parent", store.claim_available_tasks("parent"))
if (pid := os.fork()) == 0:
    say("shifted", time.clock_gettime(time.CLOCK_BOOTTIME) - boot > 86000)
    say("child", store.claim_available_tasks("child"))
    os._exit(0)
os.waitpid(pid, 0)
say("again", SqliteClaimStore(args[0]).claim_available_tasks("parent"))
""",
        tmp_path / "jobs.db",
    )
    forking.says("parent", "[]")
    forking.says("shifted", True)
    forking.says("child", "[]")
    forking.says("again", "[]")
    forking.end()
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        assert store.get_task("i", "t").state is TaskState.CLAIMED
