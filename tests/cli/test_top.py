"""``sqlite-claims top`` shows its screen, restores the terminal, and does not change the store."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sqlite_claims import NewTask, TaskState
from sqlite_claims.cli.top import sampler
from sqlite_claims.cli.top.sampler import Sampler
from sqlite_claims.sqlite.store import SqliteClaimStore

from .conftest import Cli

_PATIENCE = 60.0
# A session leader that opens a terminal receives the SIGINT of Ctrl-C.
_CONTROLLED = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"


class Screen:
    """The command on a pseudo terminal."""

    def __init__(self, db: Path, *args: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, sys.executable, "-m", "sqlite_claims", "top", str(db), *args],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        )
        self.shown = b""

    def wait_for(self, text: str) -> None:
        while text.encode() not in self.shown:
            self.shown += os.read(self._ours, 65536)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """Wait until the command has ended, and return its exit status. ``shown`` then holds the complete output."""
        status = self.process.wait(_PATIENCE)
        os.set_blocking(self._ours, False)
        while True:
            try:
                self.shown += os.read(self._ours, 65536)
            except BlockingIOError:
                return status

    @property
    def attributes(self) -> list[object]:
        return list(termios.tcgetattr(self._theirs))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def top(db: Path, *args: str) -> Iterator[Screen]:
    screen = Screen(db, *args)
    try:
        yield screen
    finally:
        screen.close()


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """Make a store with a live claim, an expired claim, and a claim that belongs to a session."""
    with cli.store() as store:
        store.add_instance("order-42", [NewTask("a"), NewTask("b"), NewTask("c"), NewTask("d")])
        store.add_instance("ended", [NewTask("e", priority=1)])
        store.complete_task(store.claim_available_tasks("worker-1")[0].claim)
        store.claim_task("order-42", "a", "worker-1", None)
        store.claim_task("order-42", "b", "worker-2", 0)
    return cli


def test_one_frame_tells_what_is_in_progress_and_who_holds_what(busy: Cli) -> None:
    with busy.store() as store, store.open_session("worker-3") as session:
        claim = store.claim_task("order-42", "c", "worker-3", None, session=session)
        assert claim is not None
        shown = busy("top", "--once")
        store.release_task(claim)
    assert (shown.status, shown.err) == (0, "")
    lines = [line.split() for line in shown.out.splitlines()]
    assert "ready: 1  claimed: 3  completed: 1" in shown.out
    assert "claims: 2 live, 1 expired" in shown.out
    assert ["order-42", "in_progress", "1", "3", "0%"] in lines
    assert "ended" not in [line[0] for line in lines if line]
    held = {line[0]: line[1:] for line in lines if line and line[0].startswith("worker-")}
    assert held["worker-1"][:4] == ["1", "a", "of", "order-42"]
    assert held["worker-2"][:4] == ["1", "b", "of", "order-42"]
    assert held["worker-2"][-1] == "expired"
    assert held["worker-3"][:5] == [str(os.getpid()), "1", "c", "of", "order-42"]


def test_names_cannot_steer_the_terminal(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i\x1b[2J", [NewTask("t\x1b[2J")])
        store.claim_available_tasks("w\x1b[2J", ttl=None)
    shown = cli("top", "--once").out
    assert "\x1b" not in shown
    assert shown.count("\\x1b[2J") == 4


def test_looking_leaves_the_file_as_it_is_and_needs_no_writer(busy: Cli) -> None:
    with busy.store() as store, store.transaction() as tx:
        tx.add_instance("not committed")
        shown = busy("top", "--once")
    assert shown.status == 0
    assert "not committed" not in shown.out


def test_a_wrong_name_is_an_error(cli: Cli) -> None:
    result = cli("top", "--once")
    assert result.status == 2
    assert "(it is created by add and map)" in result.err
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("end", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_it_ends_at_once_and_leaves_the_terminal_as_it_was(busy: Cli, end: bytes) -> None:
    with top(busy.db, "--interval", "1h") as screen:
        screen.wait_for("worker-2")
        screen.press(end)
        assert screen.end() == 0
        assert screen.attributes == screen.before
    assert b"\x1b[?1049l" in screen.shown
    assert b"Traceback" not in screen.shown


def test_ended_by_a_signal_it_leaves_the_terminal_as_it_was(busy: Cli) -> None:
    with top(busy.db, "--interval", "1h") as screen:
        screen.wait_for("worker-2")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 128 + signal.SIGTERM
        assert screen.attributes == screen.before
    assert b"\x1b[?1049l" in screen.shown


def test_a_terminal_that_goes_away_ends_it_by_one_line(busy: Cli) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sqlite_claims", "top", str(busy.db), "--interval", "100ms"],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"worker-2" not in shown:
        shown += os.read(ours, 65536)
    os.close(ours)
    _, told = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, told) == (2, b"sqlite-claims: cannot write the output: Input/output error\n")


def test_it_shows_what_changes(busy: Cli) -> None:
    with top(busy.db, "--interval", "100ms") as screen, busy.store() as store:
        screen.wait_for("completed: 1 ")
        store.complete_task(store.claim_available_tasks("worker-9")[0].claim)
        screen.wait_for("completed: 2 ")
        store.add_instance("late")
        screen.wait_for("late")
        screen.press(b"q")
        assert screen.end() == 0


def test_without_a_terminal_frames_follow_each_other_until_nobody_reads(busy: Cli) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sqlite_claims", "top", str(busy.db), "--interval", "100ms"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        frames = 0
        while frames < 3:
            frames += process.stdout.readline().startswith(b"claims: ")
        process.stdout.close()
        assert process.wait(_PATIENCE) == 141
        assert process.stderr.read() == b""


def test_rates_are_what_was_done_between_two_looks(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i", [NewTask(str(number)) for number in range(10)])
        samples = Sampler(store)
        first = samples.take()
        assert first.rate_since(None, TaskState.COMPLETED) is None
        store.complete_tasks([(claimed.claim, b"") for claimed in store.claim_available_tasks("w", 10)])
        second = samples.take()
        rate = second.rate_since(first, TaskState.COMPLETED)
        assert rate is not None
        assert rate * (second.at - first.at) == pytest.approx(10)
        store.prune(0)
        assert samples.take().rate_since(second, TaskState.COMPLETED) is None


def test_open_instances_come_into_view_behind_many_that_have_ended_and_go_when_they_end(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "_FIRST_READ_S", 0.0)  # makes each snapshot read only one page
    monkeypatch.setattr(sampler, "_NEXT_READ_S", 0.0)
    monkeypatch.setattr(sampler, "_SEARCH_SHARE", float("inf"))  # makes each snapshot search for ready tasks
    with SqliteClaimStore(cli.db, durability="process") as store:
        for number in range(1200):
            store.add_instance(f"ended-{number}")
            store.cancel_instance(f"ended-{number}")
        store.add_instance("open", [NewTask("t")])
        samples = Sampler(store)
        seen = [[instance.instance_id for instance in samples.take().instances] for _ in range(4)]
        assert seen[0] == []
        assert seen[-1] == ["open"]
        store.cancel_instance("open")
        monkeypatch.setattr(sampler, "_NEXT_READ_S", 10.0)
        samples.take()
        assert samples.take().instances == []


def test_an_instance_that_is_worked_on_is_in_view_at_once_behind_however_many_that_have_ended(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sampler, "_search_instances", lambda *_: None)
    with SqliteClaimStore(cli.db, durability="process") as store:
        samples = Sampler(store)
        store.add_instance("i", [NewTask("t"), NewTask("u")])
        assert samples.take().instances == []
        claimed = store.claim_available_tasks("worker", ttl=None)
        assert [instance.instance_id for instance in samples.take().instances] == ["i"]
        store.complete_task(claimed[0].claim)
        (seen,) = samples.take().instances
        assert seen.counts[TaskState.COMPLETED] == 1


def test_a_look_reads_a_bounded_number_of_claims_and_says_so(cli: Cli) -> None:
    with SqliteClaimStore(cli.db, durability="process") as store:
        store.add_instance("i", [NewTask(str(number)) for number in range(2000)])
        store.claim_available_tasks("worker", 2000, None)
        snapshot = Sampler(store).take()
        assert not snapshot.has_all_claims
        assert snapshot.workers[0].claims == 1000
    assert "only the first 1,000 claims were read" in cli("top", "--once").out


def test_the_time_that_a_claim_is_held_grows(cli: Cli) -> None:
    with cli.store() as store:
        store.add_instance("i", [NewTask("t")])
        store.claim_available_tasks("worker", ttl=None)
        row = Sampler(store).take().workers[0]
    assert row.oldest is not None
    assert 0 <= time.time() - row.oldest.claimed_at < _PATIENCE
