"""Check the models of claims and of the log with the model checker spin. Spin explores every order of the steps of all
processes. Each planted fault must violate one property, and each property must be violated by a planted fault."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
CAN_CHECK = shutil.which("spin") and shutil.which("cc")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_CHECK, reason="needs spin and a C compiler")]

DEAD_CLAIMS_END = "dead_claims_end"
# Each planted fault, and the property that this fault violates: an assertion of the model, or the name of a property
# that spin checks for endless runs.
FAULTS = {
    "claims": {
        "SETTLE_BY_NAME": "number[me]==latest",
        "CLAIM_WITHOUT_CHECK": "live.state!=2",
        "CLOSE_DROPS_LOCK": "((live.state!=1)||expired)||(session[holder]!=holder_session)",
        "BOOT_KEEPS_FLOOR": "live.token>issued",
        "BOOT_IS_NOT_SYNCED": "live.token>issued",
        "PRUNE_KEEPS_FLOOR": "live.token>issued",
        "ACKNOWLEDGE_BEFORE_SYNC": "!(acknowledged)||(live.state==2)",
        "DEATH_IS_NOT_NOTICED": DEAD_CLAIMS_END,
    },
    "log": {
        "ACKNOWLEDGE_BEFORE_SYNC": "at>acknowledged",
        "MARK_IS_READ_BEFORE_SYNC": "at>acknowledged",
        "MARK_IS_IGNORED": "at>acknowledged",
        "FRAMES_ARE_NOT_WRITTEN_AGAIN": "at>highest",
        "CHECKPOINT_IGNORES_MARK": "at>highest",
        "WAL_IS_OPENED_LATE": "at>highest",
        "COPY_BEFORE_SYNC": "at>highest",
        "START_OVER_BEFORE_SYNC": "page[at]==3",
        "PAGES_ARE_NOT_COPIED_AGAIN": "page[at]==3",
    },
}
# Bounds with which the planted faults of the log are found fast. One fault needs a third commit.
SMALL = {"claims": [], "log": ["COMMITS=2"]}
LARGER = {"PAGES_ARE_NOT_COPIED_AGAIN": ["FAILURES=1"]}


def check(model: str, folder: Path, defines: list[str], endless: str = "") -> str:
    """Explore all states of a model. Return the output of the checker. ``endless``: a property to check instead of the
    assertions."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("spin", "-a", *(f"-D{define}" for define in defines), str(FOLDER / f"{model}.pml"))
    # -E: all processes may wait at the end, because the model has only a limited number of faults and commits
    kind, options = ([], ["-a", "-f", "-N", endless]) if endless else (["-DSAFETY", "-DNOCLAIM"], [])
    run("cc", "-O1", "-w", "-DMEMLIM=3000", *kind, "-o", "pan", "pan.c")
    output = run("./pan", "-E", "-m100000", "-w22", *options)
    assert "max search depth too small" not in output
    assert "Search not completed" not in output or violated(output), output  # the memory may be too small
    return output


def violated(output: str) -> str | None:
    """Return the property that the checker found violated."""
    if "acceptance cycle (" in output:
        return DEAD_CLAIMS_END
    found = re.search(r"assertion violated \(? *(.*?)\)? \(at depth", output)
    return found[1] if found else None


def test_claims_are_safe_and_claims_of_dead_processes_end(tmp_path: Path) -> None:
    assert violated(check("claims", tmp_path, [])) is None
    assert violated(check("claims", tmp_path, [], DEAD_CLAIMS_END)) is None


@pytest.mark.parametrize("bounds", [["COMMITS=2"], ["FAILURES=1"]], ids=" ".join)
def test_acknowledged_commits_survive_failed_syncs_checkpoints_and_power_cuts(
    tmp_path: Path, bounds: list[str]
) -> None:
    assert violated(check("log", tmp_path, bounds)) is None


@pytest.mark.soak
def test_the_larger_model_of_the_log_is_safe_too(tmp_path: Path) -> None:
    assert violated(check("log", tmp_path, [])) is None


@pytest.mark.parametrize(("model", "fault"), [(model, fault) for model in FAULTS for fault in FAULTS[model]])
def test_each_planted_fault_violates_its_property(model: str, fault: str, tmp_path: Path) -> None:
    expected = FAULTS[model][fault]
    bounds = LARGER.get(fault, SMALL[model])
    output = check(model, tmp_path, [fault, *bounds], DEAD_CLAIMS_END if expected == DEAD_CLAIMS_END else "")
    assert violated(output) == expected, output


def test_a_process_that_dies_before_it_sets_the_mark_is_a_known_limit(tmp_path: Path) -> None:
    assert violated(check("log", tmp_path, ["MARK_IS_LATE", *SMALL["log"]])) == "at>highest"


@pytest.mark.parametrize("model", FAULTS)
def test_every_property_has_a_planted_fault_and_every_planted_fault_is_checked(model: str) -> None:
    text = (FOLDER / f"{model}.pml").read_text()
    properties = len(re.findall(r"assert\(", text)) + len(re.findall(r"^ltl ", text, re.MULTILINE))
    repeated = len(re.findall(r"assert\(number\[me\] == latest\)", text))
    assert len(set(FAULTS[model].values())) == properties - max(0, repeated - 1)
    assert set(re.findall(r"#(?:ifn?def|elif defined\() ?([A-Z_]+)", text)) - {"COMMITS", "FAILURES", "KILLS"} == set(
        FAULTS[model]
    ) | ({"MARK_IS_LATE"} if model == "log" else set())
