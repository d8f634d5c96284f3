"""Messages and log records between a supervisor and its processes, and other bytes that may arrive there."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlite_claims.workers.control_channel import LINE_BYTES_MAX, ControlChannel, Ended, Failed, Message, Ready, Stop
from sqlite_claims.workers.control_channel import encode as encode_message
from sqlite_claims.workers.log_lines import decode, encode, make_sockets
from sqlite_claims.workers.log_relay import LogRelay, LogSource

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, ControlChannel]]:
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield theirs, ControlChannel(ours)


READY = encode_message(Ready())


def received(channel: ControlChannel) -> list[Message]:
    messages: list[Message] = []
    while (read := channel.receive()) is not None and not channel.ended:
        messages += read
    return messages


@pytest.mark.parametrize(
    "message",
    [
        Ready(),
        Failed(stage="store", text="no room\n\ud800"),
        Ended(reason="interrupted", by_handler=True, abandoned_handlers=2),
        Stop(None),
        Stop(0.5),
    ],
    ids=lambda message: type(message).__name__,
)
def test_each_message_arrives_as_it_was_sent(pair: tuple[socket.socket, ControlChannel], message: Message) -> None:
    theirs, channel = pair
    assert ControlChannel(theirs).send(message)
    assert received(channel) == [message]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"\xff\n",
        b"[]\n",
        b'"text"\n',
        b"{]\n",
        b"[" * 60_000 + b"\n",
        b'{"a":' * 10_000 + b"\n",
        b"9" * 10_000 + b"\n",
        b'{"a": "' + b"x" * LINE_BYTES_MAX + b'"}\n',
        b"x" * 100_000 + b"\n",
        b'{"type": "ready", "more": 1}\n',
        b'{"type": "stop"}\n',
        b'{"type": "stop", "timeout_s": true}\n',
        b'{"type": "stop", "timeout_s": "1"}\n',
        b'{"type": ["stop"], "timeout_s": 1}\n',
        b'{"type": "unknown"}\n',
        b'{"type": "failed", "stage": "somewhere", "text": ""}\n',
        b'{"type": "ended", "reason": "idle", "by_handler": 1, "abandoned_handlers": 0}\n',
        b'{"type": "ended", "reason": "idle", "by_handler": false, "abandoned_handlers": 0.5}\n',
    ],
)
def test_a_line_without_a_message_is_counted_and_the_lines_around_it_are_read(
    pair: tuple[socket.socket, ControlChannel], garbage: bytes
) -> None:
    theirs, channel = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.sendall(READY + garbage + encode_message(Stop(2)))
    assert received(channel) == [Ready(), Stop(2)]
    assert channel.unreadable == 1


def test_a_message_may_arrive_in_pieces(pair: tuple[socket.socket, ControlChannel]) -> None:
    theirs, channel = pair
    messages: list[Message] = []
    for byte in READY:
        theirs.send(bytes([byte]))
        messages += channel.receive() or []
    assert messages == [Ready()]


def test_a_line_without_an_end_takes_bounded_memory(pair: tuple[socket.socket, ControlChannel]) -> None:
    theirs, channel = pair
    for _ in range(100):
        theirs.sendall(b"x" * 50_000)
        channel.receive()
        assert len(channel._partial) <= LINE_BYTES_MAX
    theirs.sendall(b"\n" + READY)
    assert received(channel) == [Ready()]
    assert channel.unreadable == 1


def test_a_closed_peer_is_noticed_and_sending_to_it_does_nothing(
    pair: tuple[socket.socket, ControlChannel],
) -> None:
    theirs, channel = pair
    theirs.close()
    channel.send(Stop(None))
    assert (channel.receive(), channel.ended) == ([], True)


def record(message: str = "text", **names: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "app", "levelno": 20, "levelname": "INFO", "msg": message, **names})


def test_a_record_arrives_as_it_was_logged() -> None:
    sent = logging.LogRecord("app", logging.ERROR, "/a/b.py", 7, "%s of %d", ("one", 2), None, "function")
    sent.order = 42
    came = decode(encode(sent), "worker")
    assert came.getMessage() == "one of 2"
    for name in (
        "name",
        "levelno",
        "levelname",
        "pathname",
        "lineno",
        "funcName",
        "created",
        "msecs",
        "thread",
        "order",
    ):
        assert getattr(came, name) == getattr(sent, name)
    assert came.processName == "worker"


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\u20ac", "\U0001f600", "\0", '"', "\ud800"])
@pytest.mark.parametrize("size", [10, 10_000, 65_000, 200_000])
def test_a_line_has_at_most_64_kib_for_any_characters(letter: str, size: int) -> None:
    text = letter * size
    line = encode(record(text, exc_text=text, stack_info=text, pathname=text, threadName=text, order=text))
    assert len(line) <= 65_536
    came = decode(line, "worker")
    if size == 10:
        assert (came.msg, came.exc_text, came.stack_info) == (text, text, text)
        assert vars(came)["order"] == text
    if size == 200_000:
        assert came.msg.endswith("characters were cut]")
        assert (came.exc_text or "").endswith(letter)  # of a traceback the end tells most


def test_a_record_that_fills_a_line_is_not_cut() -> None:
    assert decode(encode(record("x" * 64_000)), "worker").msg == "x" * 64_000


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_record_raise_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line, "worker")


@given(st.dictionaries(st.sampled_from(sorted(json.loads(encode(record())))), JSON))
def test_a_record_with_wrong_values_is_refused_or_can_be_shown(changes: dict[str, Any]) -> None:
    line = json.dumps({**json.loads(encode(record())), **changes}).encode()
    try:
        came = decode(line, "worker")
    except ValueError:
        return
    logging.Formatter("%(asctime)s %(process)s %(threadName)s %(name)s %(message)s").format(came)


@pytest.mark.parametrize("name", ["getMessage", "msg", "args", "levelno", "exc_info"])
def test_attributes_that_would_break_a_record_are_left_out(name: str) -> None:
    shown = json.loads(encode(record("text")))
    shown["extra"] = {name: "broken"}
    assert decode(json.dumps(shown).encode(), "worker").getMessage() == "text"


def test_unreadable_lines_are_logged_at_once_then_each_ten_seconds_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    relay = LogRelay(clock=lambda: now[0])
    for at in (0.0, 1.0, 2.0, 9.9, 10.0, 11.0, 12.0):
        relay.post(now.__setitem__, 0, at)
        relay.count_unreadable(1, "w")
    relay.close()
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [1, 4, 2]


def test_records_of_a_dead_process_are_logged_although_its_socket_is_still_open_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = LogRelay()
    ours, theirs = make_sockets()
    with theirs:
        source = LogSource(ours, "w")
        relay.add(source)
        for number in range(3):
            theirs.send(encode(record(str(number), levelno=40)))
        relay.remove(source)
        relay.close()
        with pytest.raises(OSError):
            theirs.send(b"nobody reads this")
    assert [record.msg for record in caplog.records] == ["0", "1", "2"]


def test_a_process_that_logs_to_a_supervisor_that_is_gone_does_not_die_of_sigpipe() -> None:
    program = """
import logging, signal, socket
from sqlite_claims.workers.log_lines import LogSender, make_sockets
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ours, theirs = make_sockets()
logging.getLogger().addHandler(LogSender(theirs))
ours.close()
logging.error("nobody reads this")
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, env={**os.environ})
    assert ended.returncode == 0 != -signal.SIGPIPE
