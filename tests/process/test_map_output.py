"""What commands print comes out whole, on the side where it belongs, and is kept to a bound."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from sqlite_claims.model import TaskState

from .map_runs import Runs, runs

__all__ = ["runs"]

# Prints its argument over and over, in pieces that end anywhere.
_IN_PIECES = """
import os, sys
data = (sys.argv[1] * 30 + "\\n").encode() * 400
for start in range(0, len(data), 701):
    os.write(1, data[start:start + 701])
"""
# Prints one line of three million bytes, and then waits for its file to appear.
_LONG_LINE = """
import os, sys
data = sys.argv[1].encode() * 100_000
for _ in range(30):
    os.write(1, data)
open(sys.argv[2] + sys.argv[1], "w").close()
while not all(os.path.exists(sys.argv[2] + name) for name in "ab"):
    pass
os.write(1, b"\\n")
"""


def test_lines_of_commands_are_not_mixed(runs: Runs) -> None:
    ended = runs.run("-j", "4", lines="abcd", command=[sys.executable, "-c", _IN_PIECES])
    assert ended.status == 0
    assert Counter(ended.out.splitlines()) == {name.encode() * 30: 400 for name in "abcd"}


def test_lines_of_millions_of_bytes_are_not_mixed_either(runs: Runs) -> None:
    command = [sys.executable, "-c", _LONG_LINE, "{}", str(runs.folder / "printed-")]
    ended = runs.run("-j", "2", lines="ab", command=command)
    assert ended.status == 0
    assert sorted(ended.out.splitlines()) == [b"a" * 3_000_000, b"b" * 3_000_000]


def test_a_very_long_line_is_not_held_in_memory(runs: Runs) -> None:
    limit, size = 128 << 20, 192 << 20

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    command = ["head", "-c", str(size), "/dev/zero"]
    with (runs.folder / "out").open("wb") as out:
        ended = runs.run("--retries", "0", lines=["--"], command=command, stdout=out, preexec_fn=bound)
    assert ended.status == 0, ended
    assert (runs.folder / "out").stat().st_size == size + 1


def test_a_last_line_without_an_ending_gets_one(runs: Runs) -> None:
    assert runs.run("-j", "1", lines=["a", "b"], command=["printf", "%s\n%s", "x"]).out == b"x\na\nx\nb\n"


def test_standard_error_goes_to_standard_error(runs: Runs) -> None:
    ended = runs.run("-q", lines=["a"], command=["sh", "-c", "echo out; echo err >&2"])
    assert (ended.out, ended.err) == (b"out\n", "err\n")


def test_commands_have_nothing_on_standard_input(runs: Runs) -> None:
    ended = runs.run("-j", "1", lines=["a", "b"], command=["sh", "-c", 'cat; echo "$1"', "sh"])
    assert ended.out == b"a\nb\n"


def test_the_beginning_of_the_output_is_stored(runs: Runs) -> None:
    command = ["sh", "-c", 'printf "%s-0123456789" "$1"', "sh"]
    runs.run("--keep-output", "6", lines=["ab"], command=command)
    assert runs.tasks()[b"ab"].output == b"ab-012"


def test_the_end_of_standard_error_is_stored_as_a_failed_commands_error(runs: Runs) -> None:
    runs.run(lines=["a"], command=["sh", "-c", "seq 100000 >&2; kill -TERM $$"])
    error = runs.tasks()[b"a"].error
    assert error is not None
    assert error.splitlines() == ["killed by signal 15 (SIGTERM)", *map(str, range(99991, 100001))]


def test_a_reader_that_has_seen_enough_ends_the_run_without_a_complaint(runs: Runs) -> None:
    read, write = os.pipe()
    runs.hold("b")
    process = runs.start("-q", "-j", "1", lines=["a", "b", "c", "d"], stdout=write)
    os.close(write)
    assert os.read(read, 100) == b"did a\n"
    runs.wait_for("start", "b")
    os.close(read)
    runs.let_go("b")
    ended = runs.finish(process)
    assert (ended.status, ended.err) == (128 + signal.SIGPIPE, "")
    assert runs.tasks()[b"b"].state is TaskState.COMPLETED
    assert runs.count("start") == {"a": 1, "b": 1}

    assert runs.run(lines=["a", "b", "c", "d"]).status == 0
    assert runs.count("end") == dict.fromkeys("abcd", 1)


def test_a_full_disk_behind_standard_output_is_an_error(runs: Runs) -> None:
    with open("/dev/full", "wb") as full:
        ended = runs.run("-j", "1", lines=["a", "b"], stdout=full)
    assert ended.status == 2
    assert "No space left on device" in ended.err


def test_a_process_that_a_command_leaves_behind_holds_nobody_up(runs: Runs) -> None:
    pids = runs.folder / "pids"
    command = ["sh", "-c", f'sleep 1000 & echo $! >> {pids}; echo "$1"', "sh"]
    try:
        ended = runs.run("-j", "2", lines=["a", "b"], command=command)
        assert (ended.status, sorted(ended.out.split())) == (0, [b"a", b"b"])
    finally:
        for pid in pids.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_standard_descriptor_does_not_become_a_store_file(runs: Runs, tmp_path: Path, descriptor: int) -> None:
    (tmp_path / "input").write_text("a\n")
    ended = runs.run(
        "-q", str(tmp_path / "input"), lines=["a"], command=["sh", "-c", "echo out; echo err >&2"],
        preexec_fn=lambda: os.close(descriptor),
    )  # fmt: skip
    assert ended.status == 0
    assert ended.out == (b"" if descriptor == 1 else b"out\n")
    assert ended.err == ("" if descriptor == 2 else "err\n")
    assert runs.run(str(tmp_path / "input"), command=["sh", "-c", "echo out; echo err >&2"]).status == 0
