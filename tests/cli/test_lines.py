"""The functions that split input into lines, and that count equal lines with little memory."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlite_claims.cli.map.lines import (
    LINE_BYTES_MAX,
    Counts,
    LineSource,
    Splitter,
    line_digest,
    open_inputs,
    parse_task_name,
    task_name,
)
from sqlite_claims.errors import InvalidArgumentError


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\x05", b"\r\n")), st.data())
def test_lines_do_not_depend_on_how_the_input_is_cut(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    splitter = Splitter()
    lines = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        lines += list(splitter.feed(data[start:end]))
    lines += list(splitter.end())
    expected = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    assert [line.data for line in lines] == [line for line in expected if line]
    assert [line.digest for line in lines] == [line_digest(line) for line in expected if line]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("extra", [-1, 0, 1, 2, 70_000])
def test_of_a_line_that_no_argument_can_hold_only_the_beginning_is_kept(extra: int, ending: bytes) -> None:
    data = b"x" * (LINE_BYTES_MAX + extra)
    splitter = Splitter()
    whole = data + ending + b"next" + ending
    lines = []
    for start in range(0, len(whole), 50_000):
        lines += list(splitter.feed(whole[start : start + 50_000]))
    assert lines[0].data == data[: LINE_BYTES_MAX + 1]
    assert lines[1].data == b"next"


@given(st.lists(st.integers(0, 300), max_size=600))
def test_counts_are_those_of_a_dictionary(numbers: list[int]) -> None:
    counts, expected = Counts(), Counter[int]()
    for number in numbers:
        expected[number] += 1
        assert counts.add(line_digest(b"%d" % number)) == expected[number]
    for number in range(301):
        assert counts.get(line_digest(b"%d" % number)) == expected[number]


@pytest.mark.slow
def test_counting_takes_little_memory_for_each_line() -> None:
    tracemalloc.start()
    counts = Counts()
    for number in range(100_000):
        counts.add(line_digest(b"%d" % number))
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 100_000 * 40


def test_a_task_name_tells_the_line_and_its_place() -> None:
    name = task_name(line_digest(b"a"), 3)
    assert parse_task_name(name) == (line_digest(b"a"), 3)
    for other in ("a", "", "zz-1", f"{'ab' * 16}", f"{'ab' * 16}-x", f"{'AB' * 16}-1", f"{'ab' * 16}-01"):
        assert parse_task_name(other) is None


def test_a_source_reads_no_more_than_it_is_asked_for() -> None:
    read, write = os.pipe()
    os.write(write, b"a\nb\nc\nd")
    source = LineSource([read])
    assert [line.data for line in source.take(2)] == [b"a", b"b"]
    assert source.holds_lines
    assert [line.data for line in source.take(2)] == [b"c"]
    assert not source.holds_lines
    assert not source.at_end
    os.close(write)
    assert [line.data for line in source.take(2)] == [b"d"]
    assert source.at_end
    source.close()


def test_an_input_that_has_nothing_yet_gives_no_lines() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    source = LineSource([read])
    assert source.take(10) == []
    assert not source.at_end
    os.close(write)
    source.close()


def test_a_folder_is_no_input(tmp_path: object) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(InvalidArgumentError, match="folder"):
        open_inputs(["/dev/null", str(tmp_path)])
    assert len(os.listdir("/dev/fd")) == before
