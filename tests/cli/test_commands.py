"""The commands that show the contents of a store and control the store's instances."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import apsw
import pytest

import sqlite_claims
from sqlite_claims.model import InstanceState, TaskState
from sqlite_claims.sqlite import c_core
from sqlite_claims.sqlite.store import SqliteClaimStore

from ..tiers import first_is_fast
from .conftest import Cli

OTHERS = ["status", "ls", "prune --older-than 0", "check"]
OF_AN_INSTANCE = ["show", "pause", "resume", "cancel", "retry"]


@pytest.mark.parametrize(
    "command", [*OTHERS, *(f"{name} x" for name in OF_AN_INSTANCE), "release x y", "backup {}.copy"]
)
def test_a_wrong_name_of_the_file_makes_no_store(cli: Cli, command: str) -> None:
    name, *args = command.format(cli.db).split()
    result = cli(name, *args)
    assert result.status == 2
    assert result.err.startswith("sqlite-claims: ")
    assert result.err.endswith("file not found (it is created by add and map)\n")
    assert result.err.count("\n") == 1
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("command", OF_AN_INSTANCE)
def test_an_instance_that_is_not_there_is_an_error(cli: Cli, command: str) -> None:
    with cli.store():
        pass
    result = cli(command, "nope\x1b")
    assert result.status == 2
    assert "'nope\\x1b'" in result.err
    assert result.err.count("\n") == 1


def test_added_lines_are_tasks_with_the_line_as_input(cli: Cli) -> None:
    given = cli.file("in", b"a\n\nb\r\na\n\xff")
    assert (
        cli("add", "one", given, "--kind", "k", "--priority", "2", "--tag", "t", "--tag", "s").out
        == "4 tasks added to one\n"
    )
    with cli.store() as store:
        tasks = list(store.list_tasks("one"))
    assert sorted(task.input for task in tasks) == [b"a", b"a", b"b", b"\xff"]
    assert {(task.kind, task.priority, task.tags) for task in tasks} == {("k", 2, ("s", "t"))}


def test_the_same_lines_again_add_nothing(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\nb\n"))
    assert cli("add", "one", cli.file("in", "b\nc\na\na\n")).out == "2 tasks added to one, 2 already existed\n"


def test_lines_are_named_as_map_names_them(cli: Cli) -> None:
    given = cli.file("in", "a\nb\na\n")
    cli("add", "added", given)
    cli("map", "--instance", "mapped", given, "--", "true")
    with cli.store() as store:
        names = [{task.task_id for task in store.list_tasks(name)} for name in ("added", "mapped")]
    assert names[0] == names[1]


def test_json_lines_say_all_about_a_task(cli: Cli) -> None:
    lines = [
        {"task_id": "a", "input": "é", "kind": "k", "priority": 1, "tags": ["t"], "max_attempts": 7, "max_lost": 2},
        {"task_id": "b", "input_base64": "AP8=", "depends_on": ["a"], "delay": 1.5, "retry": {"initial_delay": 9}},
        {"task_id": "c", "available_at": "2999-01-01T00:00:00+01:00", "kind": None},
    ]
    given = cli.file("in", "".join(json.dumps(line) + "\n" for line in lines))
    assert cli("add", "one", "--json", given, "--kind", "other", "--definition-hash", "v1").status == 0
    with cli.store() as store:
        a, b, c = (store.get_task("one", name) for name in "abc")
    assert (a.input, a.kind, a.priority, a.tags, a.max_attempts, a.max_lost) == ("é".encode(), "k", 1, ("t",), 7, 2)
    assert (b.input, b.kind, b.depends_on, b.delay, b.retry.initial_delay) == (b"\0\xff", "other", ("a",), 1.5, 9)
    assert c.available_at is not None
    assert (c.available_at.isoformat(), c.kind) == ("2998-12-31T23:00:00+00:00", "other")
    assert c.workflow_definition_hash == "v1"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "task_id is missing"),
        ('{"task_id": "a", "depend": "b"}', "unknown key 'depend'"),
        ('{"task_id": 1}', "task_id must be a str"),
        ('{"task_id": "a", "input": 1}', "input must be a string"),
        ('{"task_id": "a", "input_base64": "?"}', "input_base64: "),
        ('{"task_id": "a", "input": "", "input_base64": ""}', "give one of them"),
        ('{"task_id": "a", "available_at": "soon"}', "available_at: "),
        ('{"task_id": "a", "available_at": "2999-01-01"}', "aware datetime"),
        ('{"task_id": "a", "retry": {"x": 1}}', "retry must be an object"),
        ('{"task_id": "a", "priority": 6}', "priority must be from 1 to 5"),
    ],
)
def test_a_wrong_json_line_is_told_with_its_place_and_makes_no_store(cli: Cli, line: str, told: str) -> None:
    given = cli.file("in", f'{{"task_id": "fine"}}\n{line}\n')
    result = cli("add", "one", "--json", given)
    assert result.status == 2
    assert f"{given}, line 2: " in result.err
    assert told in result.err
    assert not cli.db.exists()


def test_a_json_task_that_is_there_already_is_an_error_unless_asked(cli: Cli) -> None:
    given = cli.file("in", '{"task_id": "a"}\n')
    cli("add", "one", "--json", given)
    assert cli("add", "one", "--json", given).status == 2
    assert cli("add", "one", "--json", given, "--skip-existing").out == "0 tasks added to one, 1 already existed\n"


def test_the_output_of_ls_can_be_added_to_another_store(cli: Cli) -> None:
    cli(
        "add",
        "one",
        "--json",
        cli.file("in", '{"task_id": "a", "input_base64": "AP8="}\n{"task_id": "b", "input": "x"}\n'),
    )
    keys = (
        "task_id",
        "input",
        "input_base64",
        "kind",
        "priority",
        "tags",
        "depends_on",
        "delay",
        "max_attempts",
        "retry",
    )
    listed = [json.loads(line) for line in cli("ls", "--json").out.splitlines()]
    again = "".join(json.dumps({key: task[key] for key in keys if key in task}) + "\n" for task in listed)
    assert cli("add", "two", "--json", cli.file("in", again)).status == 0
    with cli.store() as store:
        assert [task.input for task in store.list_tasks("two")] == [b"\0\xff", b"x"]


def test_former_names_of_options_go_on_working(cli: Cli) -> None:
    given = cli.file("in", "a\nb\n")
    assert cli("map", "--name", "one", "-P", 1, given, "--", "true").status == 0
    assert len(cli("ls", "--instance", "one", "--limit", "1", "--json").out.splitlines()) == 1
    assert "there are more" in cli("ls", "one", "--limit", "1").out
    assert cli("status", "-a", "--limit", "1", "--json").json["instances"][0]["instance_id"] == "one"
    for command in ("ls", "map", "status", "work", "bench"):
        shown = cli.raw(command, "--help").out
        former = ["--name", "--processes"] if command == "map" else ["--name", "--limit", "--processes"]
        assert not any(name in shown for name in former)


def test_status_counts_tasks_and_names_instances(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\nb\n"))
    with cli.store() as store:
        store.claim_available_tasks("me", ttl=None)
        text, found = cli("status").out, cli("status", "--json").json
    assert "ready: 1  claimed: 1" in text
    assert "live claims: 1" in text
    assert found["counts"]["ready"] == found["live_claims"] == 1
    assert found["oldest_ready_age"] >= 0
    assert found["instances"][0]["instance_id"] == "one"


def test_status_leaves_out_what_has_ended_unless_asked(cli: Cli) -> None:
    cli("map", "--instance", "done", cli.file("in", "a\n"), "--", "true")
    cli("add", "open", cli.file("in", "a\n"))
    assert [instance["instance_id"] for instance in cli("status", "--json").json["instances"]] == ["open"]
    assert [instance["instance_id"] for instance in cli("status", "-a", "--json").json["instances"]] == ["done", "open"]
    assert "there are more" in cli("status", "-a", "--limit", "1").out


def test_ls_lists_what_is_asked_for(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\nb\nc\n"), "--kind", "k")
    cli("add", "two", cli.file("in", "d\x1b[31m\n"), "--delay", "1h")
    assert len(cli("ls", "--instance", "one", "--json").out.splitlines()) == 3
    assert cli("ls", "one", "--json").out == cli("ls", "--instance", "one", "--json").out
    assert cli("ls", "one", "--instance", "two").status == 2
    assert len(cli("ls", "--kind", "k", "--limit", "2", "--json").out.splitlines()) == 2
    assert json.loads(cli("ls", "--state", "scheduled", "--json").out)["instance_id"] == "two"
    text = cli("ls", "--limit", "3").out
    assert text.count("ready") == 3
    assert "there are more" in text
    assert "d\\x1b[31m" in cli("ls").out
    assert cli("ls", "--limit", "0", "--state", "failed").out.count("\n") == 1


def test_show_tells_all_about_an_instance_or_a_task(cli: Cli) -> None:
    cli("map", "--instance", "one", cli.file("in", "a\n"), "--", "sh", "-c", "echo out; echo oh\x1b >&2; exit 3")
    assert "state:      failed" in cli("show", "one").out
    assert cli("show", "one", "--json").json["counts"]["failed"] == 1
    with cli.store() as store:
        name = next(iter(store.list_tasks("one"))).task_id
    text = cli("show", "one", name).out
    assert "exit status 3\n" in text
    assert "oh\\x1b" in text
    found = cli("show", "one", name, "--json").json
    assert (found["input"], found["state"], found["failures"]) == ("a", "failed", 1)
    assert found["explanation"]


def test_instances_are_paused_resumed_and_cancelled(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    with cli.store() as store:
        assert cli("pause", "one").status == 0
        assert store.get_instance("one").state is InstanceState.PAUSED
        assert cli("resume", "one").status == 0
        assert store.get_instance("one").state is InstanceState.IN_PROGRESS
        assert cli("cancel", "one", "--reason", "enough").status == 0
        assert store.get_instance("one").reason == "enough"
    assert cli("resume", "one").status == 2


def test_failed_tasks_are_retried_one_by_one_or_all(cli: Cli) -> None:
    cli("map", "--instance", "one", cli.file("in", "a\nb\nc\n"), "--", "false")
    with cli.store() as store:
        first = next(iter(store.list_tasks("one"))).task_id
        assert cli("retry", "one", first).out == "1 task will be retried\n"
        assert store.get_task("one", first).state is TaskState.READY
        assert cli("retry", "one", first).status == 2
        assert cli("retry", "one").out == "2 tasks will be retried\n"
        assert store.stats().counts[TaskState.READY] == 3


def test_a_claim_is_released_whoever_holds_it(cli: Cli) -> None:
    cli("add", "one", "--json", cli.file("in", '{"task_id": "a"}\n'))
    assert "is not claimed" in cli("release", "one", "a").err
    with cli.store() as store:
        store.claim_task("one", "a", "me", None)
        assert cli("release", "one", "a", "--worker", "you").status == 2
        assert cli("release", "one", "a").out == "a released; worker me held it\n"
        assert store.get_task("one", "a").state is TaskState.READY


def test_ended_instances_are_pruned(cli: Cli) -> None:
    cli("map", cli.file("in", "a\n"), "--", "true")
    assert cli("prune", "--older-than", "1h").out == "0 instances deleted\n"
    assert cli("prune", "--older-than", "0").out == "1 instance deleted\n"
    assert cli("prune").status == 2


def test_a_backup_is_a_store_of_its_own(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    assert cli("backup", cli.folder / "copy.db").status == 0
    assert cli.raw("status", cli.folder / "copy.db", "--json").json["counts"]["ready"] == 1
    assert cli("backup", cli.folder / "copy.db").status == 2


def test_a_backup_is_restored_where_nothing_is_or_where_that_is_wanted(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    copy, new = cli.folder / "copy.db", cli.folder / "new.db"
    cli("backup", copy)
    assert cli.raw("restore", copy, new).status == 0
    assert cli.raw("status", new, "--json").json["counts"]["ready"] == 1
    cli("add", "two", cli.file("in", "b\n"))
    refused = cli.raw("restore", copy, cli.db)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert refused.err.endswith("with --replace\n")
    assert [instance["instance_id"] for instance in cli("status", "--json").json["instances"]] == ["one", "two"]
    assert cli.raw("restore", copy, cli.db, "--replace").status == 0
    assert [instance["instance_id"] for instance in cli("status", "--json").json["instances"]] == ["one"]


def test_checking_a_backup_does_not_put_it_to_work(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    cli("backup", cli.folder / "copy.db")
    before = (cli.folder / "copy.db").read_bytes()
    assert cli.raw("check", cli.folder / "copy.db").out == "ok\n"
    assert (cli.folder / "copy.db").read_bytes() == before
    assert [path.name for path in cli.folder.glob("copy.db*")] == ["copy.db"]


def test_check_says_ok_or_what_it_found(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("add", "one", cli.file("in", "a\n"))
    assert cli("check").out == "ok\n"
    monkeypatch.setattr(SqliteClaimStore, "check", lambda _: ["a page is torn"])
    result = cli("check")
    assert (result.status, result.out) == (1, "a page is torn\n")


def test_every_command_explains_itself(cli: Cli) -> None:
    listed = cli.raw("--help").out.partition("Commands:")[2].partition("Exit status:")[0]
    names = [line.split()[0] for line in listed.splitlines() if line.strip()]
    assert len(names) == 19
    for name in names:
        result = cli.raw(name, "--help")
        assert (result.status, result.err) == (0, "")
        assert "DB" in result.out or name == "bench"


def test_an_unknown_command_is_a_wrong_use(cli: Cli) -> None:
    assert cli.raw("status").status == 2
    for name, told in (("stats", "Did you mean 'status'?"), ("xyz", "No such command 'xyz'.")):
        result = cli.raw(name, cli.db)
        assert result.status == 2
        assert told in result.err


@pytest.mark.parametrize(
    "args", first_is_fast([["status"], ["ls", "--limit", "0"], ["ls", "--json"], ["check"], ["--help"]])
)
@pytest.mark.parametrize(("device", "status"), first_is_fast([("pipe", 141), ("/dev/full", 2)]))
def test_output_that_can_not_be_written_is_no_traceback(cli: Cli, args: list[str], device: str, status: int) -> None:
    if device != "pipe" and not os.path.exists(device):
        pytest.skip(f"no {device} here")
    cli("add", "one", cli.file("in", "a\n"))
    if device == "pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(device, os.O_WRONLY)
    command = [
        sys.executable,
        "-m",
        "sqlite_claims",
        args[0],
        *([] if args[0] == "--help" else [str(cli.db)]),
        *args[1:],
    ]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert ended.returncode == status
    assert ended.stderr == (
        "" if status == 141 else "sqlite-claims: cannot write the output: No space left on device\n"
    )


def test_a_shell_can_complete_the_names_of_commands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SQLITE_CLAIMS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "sqlite-claims re")
    monkeypatch.setenv("COMP_CWORD", "1")
    offered = cli.raw().out.split()
    assert offered == ["plain,resume", "plain,retry", "plain,release", "plain,restore"]


@pytest.mark.parametrize("command", [["add", "one"], ["map"]])
def test_a_person_who_types_the_lines_sees_that_they_are_read(cli: Cli, command: list[str]) -> None:
    name, *rest = command
    ours, theirs = pty.openpty()
    os.write(ours, b"a\n\x04")
    argv = [sys.executable, "-m", "sqlite_claims", name, str(cli.db), *rest]
    ended = subprocess.run(
        [*argv, "--", "true"] if name == "map" else argv, stdin=theirs, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert ended.stderr.startswith("sqlite-claims: reading lines from the terminal; Ctrl-D ends the input\n")
    os.close(ours)
    os.close(theirs)


def test_the_versions_are_told_and_whether_the_c_core_is_in_use(cli: Cli) -> None:
    first, second, third = cli.raw("--version").out.splitlines()
    assert first == f"sqlite-claims {sqlite_claims.__version__}"
    assert second.startswith(f"apsw {apsw.apsw_version()}, SQLite {apsw.sqlite_lib_version()}, Python 3.")
    assert third.startswith("C core: in use" if c_core.load() else "C core: not in use (")


def test_a_c_core_that_is_missing_is_told_with_the_reason(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_core, "_core", None)
    monkeypatch.setattr(c_core, "_missing", "no\nsuch module")
    assert cli.raw("--version").out.splitlines()[2:] == [
        "C core: not in use (no\\nsuch module): the slower Python scan is used"
    ]


def test_a_file_that_is_no_store_is_one_line_of_error(cli: Cli) -> None:
    cli.db.write_text("these are not the tables you are looking for" * 100)
    result = cli("status")
    assert result.status == 2
    assert result.err.startswith("sqlite-claims: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_libraries_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from sqlite_claims.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"sqlite-claims: the module {missing} is missing")
    assert ended.stderr.endswith("in a checkout of sqlite-claims: pip install '.[cli]'\n")


def test_a_reader_that_has_seen_enough_is_no_error(cli: Cli) -> None:
    cli("add", "one", cli.file("in", "".join(f"{number}\n" for number in range(2000))))
    process = subprocess.Popen(
        [sys.executable, "-m", "sqlite_claims", "ls", str(cli.db), "--json", "--limit", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141
