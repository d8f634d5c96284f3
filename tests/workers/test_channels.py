"""Messages and log records between a supervisor and its processes, and arbitrary bytes that a task writes to the same
channels."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_claims.workers import log_relay
from sqlite_claims.workers.control_channel import LINE_BYTES_MAX, ControlChannel, Ended, Failed, Message, Ready, Stop
from sqlite_claims.workers.control_channel import decode as decode_message
from sqlite_claims.workers.control_channel import encode as encode_message
from sqlite_claims.workers.log_lines import decode, encode, make_sockets
from sqlite_claims.workers.log_relay import LogRelay, LogSource

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 2**63])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
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


MESSAGE_FIELDS = {
    "type": st.sampled_from(["ready", "failed", "ended", "stop"]),
    "stage": st.sampled_from(["main file", "run"]),
    "text": st.text(),
    "reason": st.sampled_from(["idle", "interrupted"]),
    "by_handler": st.booleans(),
    "abandoned_handlers": st.integers(),
    "timeout_s": st.floats() | st.none(),
}
# Lines that are messages, almost messages, or arbitrary bytes.
FIELDS = st.fixed_dictionaries({}, optional={name: values | JSON for name, values in MESSAGE_FIELDS.items()})
LINES = (
    st.sampled_from([READY, encode_message(Stop(None))])
    | FIELDS.map(lambda fields: json.dumps(fields).encode() + b"\n")
    | st.binary()
    | st.integers(0, 2 * LINE_BYTES_MAX).map(lambda size: b"x" * size)
    | st.just(b"9" * 5000 + b"\n")  # more digits than Python converts
)


@given(st.lists(LINES, max_size=8), st.randoms(use_true_random=False))
def test_whatever_arrives_is_a_message_or_is_counted_as_unreadable(lines: list[bytes], choose: Random) -> None:
    data = b"".join(lines)
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        channel = ControlChannel(ours)
        messages: list[Message] = []
        at = 0
        while at < len(data):
            at += theirs.send(data[at : at + choose.choice((1, 7, 1000, 60_000))])
            messages += received(channel)
            assert len(channel._partial) <= LINE_BYTES_MAX
        theirs.send(b"\n" + READY)
        messages += received(channel)
        assert messages[-1] == Ready()
        assert len(messages) + channel.unreadable == data.count(b"\n") + 2
        assert [repr(decode_message(encode_message(message))) for message in messages] == list(map(repr, messages))


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
        assert (came.exc_text or "").endswith(letter)  # the most useful part of a traceback is its end


def test_a_record_that_fills_a_line_is_not_cut() -> None:
    assert decode(encode(record("x" * 64_000)), "worker").msg == "x" * 64_000


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_record_raise_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line, "worker")


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(json.loads(encode(record())))), JSON))
@example({"lineno": 10**400})  # more than a float can hold
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


@pytest.mark.slow
@given(
    st.lists(
        st.binary()
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.dictionaries(st.sampled_from(sorted(json.loads(encode(record())))), JSON).map(
            lambda changes: json.dumps({**json.loads(encode(record())), **changes}).encode()
        ),
        max_size=8,
    )
)
def test_the_relay_goes_on_after_whatever_arrives(lines: list[bytes]) -> None:
    relay = LogRelay()
    ours, theirs = make_sockets()
    arrived = threading.Event()
    handler = logging.Handler(1)
    handler.createLock()
    handler.emit = lambda record: arrived.set() if record.msg == "the last one" else None  # type: ignore[method-assign]
    logger = logging.getLogger("app.fuzz")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with mock.patch.object(log_relay, "show_failure") as shown, theirs:
            relay.add(LogSource(ours, "w"))
            for line in [*lines, encode(record("the last one", name="app.fuzz", levelno=40))]:
                theirs.send(line)
            assert arrived.wait(60)
            relay.close()
            assert not shown.called
    finally:
        logger.removeHandler(handler)
        ours.close()


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
