"""``map`` and GNU parallel run the same commands on the same lines, and their outputs are compared."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Cli

parallel = shutil.which("parallel")
pytestmark = pytest.mark.skipif(parallel is None, reason="GNU parallel is not installed")

PATHS = "a/b.c.d\n.hid\ndir.x/file\nd/\n/x\nx.\n/\nab//cd.e\nplain\ntwo words.txt\n"
TABLE = "a,b c,d\n1 , 2 ,3\n,,x.y\nsub/f.txt,$HOME,'q'\n"

# Options, words of the command, and input. Both programs get the same options.
SAME = {
    "{}": ([], ["echo", "[{}]", "{}"], PATHS),
    "{.}": ([], ["echo", "[{.}]"], PATHS),
    "{/}": ([], ["echo", "[{/}]"], PATHS),
    "{//}": ([], ["echo", "[{//}]"], PATHS),
    "{/.}": ([], ["echo", "[{/.}]"], PATHS),
    "{#}": ([], ["echo", "{#}", "{#}{}"], "a\nb\nc\n"),
    "{#} without the line": ([], ["echo", "{#}"], "a\nb\n"),
    "{%} with one slot": (["-j1"], ["echo", "{%}"], "a\nb\n"),
    "no placeholder": ([], ["echo", "first"], PATHS),
    "several in one word": ([], ["echo", "{/.}-{#}-{}"], PATHS),
    "equal lines": ([], ["echo", "{#}"], "a\na\na\n"),
    "bytes": ([], ["echo"], "\N{EURO SIGN}\n$(id)\n*\n'\n\\\n"),
    "NUL": (["-0"], ["echo"], "a b\0c\0"),
    "-P": (["-P2"], ["echo"], "a\nb\n"),
    "--colsep": (["--colsep", ","], ["printf", "[%s]", "{1}", "{2}", "x{3}y"], TABLE),
    "-C": (["-C", ","], ["printf", "[%s]", "{3}"], TABLE),
    "--colsep, all columns": (["--colsep", ","], ["printf", "[%s]", "{}"], TABLE),
    "--colsep, all columns in a word": (["--colsep", ","], ["printf", "[%s]", "x{}y"], TABLE),
    "--colsep, no placeholder": (["--colsep", ","], ["printf", "[%s]"], TABLE),
    "--colsep, {/} of each column": (["--colsep", ","], ["printf", "[%s]", "{/}", "{.}"], "a/b.c,d/e.f\n"),
    "--colsep, a regular expression": (["--colsep", "[,;]+"], ["echo", "{2}"], "a,;b\nc;d\n"),
    "--colsep, a tab": (["--colsep", r"\t"], ["echo", "{2}"], "a\tb\n"),
    "--tag": (["--tag"], ["printf", r"a\nb\n"], "x y\nz\n"),
    "--tag, no output": (["--tag"], ["true"], "x\n"),
    "--tag, columns": (["--tag", "--colsep", ","], ["echo", "{2}"], "a b,c\n"),
    "--dry-run": (["--dry-run"], ["echo", "{}", "{#}"], "a b\nc\nd'e\n"),
    "--dry-run, --tag": (["--dry-run", "--tag"], ["echo", "{}"], "a b\nc\n"),
    "--dry-run, columns": (["--dry-run", "--colsep", ","], ["echo", "{}", "{1}"], "a b,c\n"),
    "other braces": ([], ["echo", "{print}", "{1,2}", "{a}", "{ }", "{1..3}"], "a\n"),
    "a failure": ([], ["sh", "-c", "exit {}"], "0\n1\n"),
    "--halt now": (["-j1", "--halt", "now,fail=1"], ["sh", "-c", "echo {}; exit {}"], "0\n1\n0\n"),
    "--halt soon": (["-j1", "--halt", "soon,fail=2"], ["sh", "-c", "echo {}; exit {}"], "1\n0\n1\n0\n"),
    "--halt never": (["-j1", "--halt", "never"], ["sh", "-c", "echo {}; exit {}"], "1\n0\n1\n"),
    "--timeout": (["--timeout", "0.2"], ["sh", "-c", "echo a; exec sleep {}"], "0\n60\n"),
    "--delay": (["--delay", "0.01"], ["echo"], "a\nb\n"),
}


def run_parallel(folder: Path, options: list[str], words: list[str], given: Path) -> tuple[bool, str]:
    """Run GNU parallel, and return whether all commands succeeded, and the standard output."""
    home = folder / "parallel-home"
    home.mkdir(exist_ok=True)
    (home / "will-cite").touch()
    assert parallel is not None
    # GNU parallel joins the words of the command for a shell, and "--quote" quotes them before.
    ended = subprocess.run(
        [parallel, "--quote", "-k", "-a", given, *options, *words],
        env={**os.environ, "PARALLEL_HOME": str(home)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode == 0, ended.stdout.decode()


@pytest.mark.parametrize("case", SAME)
def test_the_output_is_that_of_gnu_parallel(cli: Cli, tmp_path: Path, case: str) -> None:
    options, words, lines = SAME[case]
    given = cli.file("in", lines)
    expected = run_parallel(tmp_path, options, words, given)
    ours = cli("map", given, "-q", "-k", *options, "--", *words)
    out = ours.out
    if words[0] == "printf" and r"\n" not in "".join(words):
        out = out.replace("\n", "")  # map ends each output with a newline
    assert (ours.status == 0, out) == expected


def test_the_job_log_has_the_columns_and_values_of_gnu_parallel(cli: Cli, tmp_path: Path) -> None:
    given = cli.file("in", "a\nb c\n")
    words = ["sh", "-c", 'echo "$1"; test "$1" = a || kill -9 $$', "sh", "{}"]
    logs = []
    for name, option in (("theirs", "--joblog"), ("ours", "--joblog")):
        log = tmp_path / name
        if name == "theirs":
            run_parallel(tmp_path, ["-j1", option, str(log)], words, given)
        else:
            cli("map", given, "-q", "-j1", option, log, "--", *words)
        rows = [line.split("\t") for line in log.read_text().splitlines()]
        for row in rows[1:]:
            float(row[2])
            float(row[3])
            assert len(row[3]) == 10
            row[2:4] = ["start", "runtime"]
            row[8] = shlex.join(shlex.split(row[8]))
        logs.append(rows)
    assert logs[0] == logs[1]


@pytest.mark.parametrize("options", [[], ["--colsep", ","]], ids=["lines", "columns"])
def test_the_files_of_results_are_those_of_gnu_parallel(cli: Cli, tmp_path: Path, options: list[str]) -> None:
    given = cli.file("in", "a/b,x\nc d,y\\z\nt\tab,w\n")
    words = ["sh", "-c", "echo out; echo error >&2"]
    run_parallel(tmp_path, [*options, "--results", str(tmp_path / "theirs")], words, given)
    cli("map", given, "-q", *options, "--results", tmp_path / "ours", "--", *words)
    files = [
        {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "theirs", tmp_path / "ours")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 9
