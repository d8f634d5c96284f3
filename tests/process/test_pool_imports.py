"""How worker processes import a program's functions, for each kind of program and each way to start a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InvalidArgumentError, WorkerPool, durable_map
from sqlite_claims.workers import WorkerStartError

from ..tiers import first_is_fast
from .pool_runs import ENVIRONMENT, PATIENCE

GUARDED = """
import sys
from sqlite_claims import durable_map

def double(x):
    return 2 * x

if __name__ == "__main__":
    print(list(durable_map(double, [1, 2], path=sys.argv[1], processes=1)))
"""
NESTED = """
import sys
from sqlite_claims import durable_map

def inner(x):
    return x + 1

def outer(x):
    return sum(durable_map(inner, [x, x + 1], path=sys.argv[1], processes=1))

if __name__ == "__main__":
    print(list(durable_map(outer, [0, 1], path=sys.argv[1], processes=1)))
"""
UNGUARDED = """
import sys
from sqlite_claims import durable_map

def double(x):
    return 2 * x

print(list(durable_map(double, [1, 2], path=sys.argv[1], processes=2)))
"""
UNGUARDED_BEFORE_THE_POOL = """
import sys
from sqlite_claims import NewTask, SqliteClaimStore, WorkerPool

def double(task):
    return 2 * task.input

with SqliteClaimStore(sys.argv[1]) as store:
    store.add_instance("i", [NewTask("t", b"x")])
WorkerPool(sys.argv[1], double, processes=1).run(until_idle=True)
"""


def start(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments and the path of a store."""
    return subprocess.run(
        [sys.executable, *words, str(folder / "s.db")],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )


def program(folder: Path, text: str, name: str = "program.py") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "options",
    first_is_fast(
        [[], ["-O"], ["-OO"], ["-I"], ["-P"], ["-s"], ["-bb"], ["-X", "dev"], ["-W", "error"], ["-B", "-u"], ["-i"]]
    ),
)
def test_functions_of_the_main_file_are_found_with_whatever_flags_python_runs(
    tmp_path: Path, options: list[str]
) -> None:
    # With -I, Python ignores PYTHONPATH.
    head = f"import sys; sys.path.insert(0, {ENVIRONMENT['PYTHONPATH']!r})\n" if "-I" in options else ""
    ended = start(tmp_path, *options, program(tmp_path, head + GUARDED), stdin=subprocess.DEVNULL)
    assert ended.stdout == "[2, 4]\n", ended.stderr


@pytest.mark.slow
def test_a_function_of_the_main_file_may_run_a_map_of_another_one(tmp_path: Path) -> None:
    ended = start(tmp_path, program(tmp_path, NESTED))
    assert ended.stdout == "[3, 5]\n", ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("text", first_is_fast([GUARDED, NESTED]))
def test_the_main_module_of_a_package_has_functions_too(tmp_path: Path, text: str) -> None:
    program(tmp_path, "", "package/__init__.py")
    program(tmp_path, text, "package/__main__.py")
    program(tmp_path, text, "package/part.py")
    expected = "[2, 4]\n" if text is GUARDED else "[3, 5]\n"
    for module in ("package", "package.part"):
        (tmp_path / "s.db").unlink(missing_ok=True)
        ended = start(tmp_path, "-m", module)
        assert ended.stdout == expected, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("text", first_is_fast([GUARDED, NESTED]))
def test_a_program_in_an_archive_or_a_folder_has_functions_too(tmp_path: Path, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "program.pyz", "w") as archive:
        archive.writestr("__main__.py", text)
    program(tmp_path, text, "folder/__main__.py")
    expected = "[2, 4]\n" if text is GUARDED else "[3, 5]\n"
    for name in ("program.pyz", "folder"):
        (tmp_path / "s.db").unlink(missing_ok=True)
        ended = start(tmp_path, name)
        assert ended.stdout == expected, ended.stderr


def test_a_program_that_no_file_stands_behind_is_told_so(tmp_path: Path) -> None:
    for words, stdin in ((["-c", GUARDED], None), (["-"], GUARDED)):
        ended = start(tmp_path, *words, input=stdin)
        assert "InvalidArgumentError: func: another process cannot import <function double" in ended.stderr
        assert ended.stdout == ""


def test_a_missing_main_guard_is_told_in_one_sentence(tmp_path: Path) -> None:
    ended = start(tmp_path, program(tmp_path, UNGUARDED))
    assert ended.returncode == 1
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("sqlite_claims.workers.")
    assert told.endswith('put the code that starts them under `if __name__ == "__main__":`')
    assert ended.stderr.count("Traceback") == 1  # the traceback of the program itself, not of a worker process
    assert len(ended.stderr.splitlines()) < 30


def test_an_error_in_the_import_of_the_main_file_names_the_guard_too(tmp_path: Path) -> None:
    ended = start(tmp_path, program(tmp_path, UNGUARDED_BEFORE_THE_POOL))
    assert 'must run under `if __name__ == "__main__":`): AlreadyExistsError: ' in ended.stderr


def test_a_module_of_handlers_that_starts_a_pool_when_it_is_imported_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"from sqlite_claims import WorkerPool\nWorkerPool({str(tmp_path / 's.db')!r}, '{{}}:handlers').run()\n"
    program(tmp_path, text.format("starts_a_pool"), "starts_a_pool.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WorkerStartError, match=r"^worker processes are started by a module .* `if __name__ =="):
        WorkerPool(tmp_path / "s.db", "starts_a_pool:handlers", processes=1).run()


def test_entries_of_sys_path_that_are_not_text_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [tmp_path, b"bytes", *sys.path, None, "\udcff"])
    monkeypatch.setattr(sys, "argv", [tmp_path, "word", "\udcff"])
    assert list(durable_map(json.dumps, [1, "a"], path=tmp_path / "s.db", processes=1)) == ["1", '"a"']


@pytest.mark.slow
def test_a_program_whose_folder_is_gone_has_a_pool_all_the_same(tmp_path: Path) -> None:
    text = "import os, shutil\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n" + GUARDED
    text = text.replace("import os, shutil\n", "import os\nif __name__ == '__main__':\n  ").replace("\nos.", "\n  os.")
    ended = start(tmp_path, program(tmp_path, text))
    assert ended.stdout == "[2, 4]\n", ended.stderr


@pytest.mark.parametrize("executable", ["", None])
def test_without_an_interpreter_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(WorkerStartError, match=r"^sys\.executable is empty: set it"):
        WorkerPool(tmp_path / "s.db", "json:dumps").run()


def test_a_frozen_program_does_not_start_itself_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(WorkerStartError, match="a frozen program"):
        WorkerPool(tmp_path / "s.db", "json:dumps").run()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"busy_timeout": "long"}, "store_options: busy_timeout"),
        ({"create": object()}, "store_options: create"),
        ({"durability": b"full"}, "store_options: durability"),
        ({1: 2}, "store_options has no '1'"),
    ],
)
def test_store_options_that_no_process_can_be_given_are_refused_by_name(
    tmp_path: Path, options: Any, named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        WorkerPool(tmp_path / "s.db", "json:dumps", store_options=options)


@pytest.mark.parametrize("handlers", [{}, {1: json.dumps}, {"": json.dumps, b"x": json.dumps}])
def test_handlers_that_would_be_others_in_a_process_are_refused(tmp_path: Path, handlers: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="handlers"):
        WorkerPool(tmp_path / "s.db", handlers)


@pytest.mark.slow
def test_a_relative_path_is_that_of_the_call_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = durable_map(json.dumps, [1], path="s.db", processes=1)
    (tmp_path / "elsewhere").mkdir()
    os.chdir("elsewhere")
    assert list(results) == ["1"]
    assert (tmp_path / "s.db").exists()


def test_an_item_too_deep_for_json_is_refused_by_its_number(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgumentError, match="item 0 is neither JSON nor bytes"):
        list(durable_map(json.dumps, [deep], path=tmp_path / "s.db"))
