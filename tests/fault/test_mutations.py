"""One value in the file is replaced. Either the store itself could have written the new value, or ``check`` reports the
value. No call on the store hangs, and each exception is one of this library's errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..tiers import first_is_fast
from .mutations import columns, sound, tried


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutations") / "sound.db"
    sound(path)
    return path


def outcomes(base: Path, table: str, seeds: range) -> list[str]:
    found = [
        tried(base, table, column, sort, seed)
        for named, column, sort in columns(base)
        for seed in seeds
        if named == table
    ]
    assert found
    return [said for said in found if said]


TABLES = [
    "attempts", "checkpoints", "dependencies", "errors", "heads", "inputs", "instances", "keys", "lanes", "limits",
    "meta", "options", "outputs", "partitions", "policies", "progress", "pruned", "queues", "rated", "sessions",
    "tasks",
]  # fmt: skip
# Tables in which the store of these tests has no rows.
EMPTY = [
    "schedules",
]  # fmt: skip


@pytest.mark.parametrize("table", first_is_fast([f"claims_{name}" for name in TABLES] + ["sqlite_sequence"]))
def test_a_value_that_no_store_writes_is_found_and_harms_no_process(base: Path, table: str) -> None:
    assert outcomes(base, table, range(2)) == []


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_thousands_of_values_that_no_store_writes_are_found_and_harm_no_process(base: Path, part: int) -> None:
    seeds = range(100 + 10 * part, 110 + 10 * part)
    assert [said for table in TABLES for said in outcomes(base, f"claims_{table}", seeds)] == []


def test_every_table_is_tried(base: Path) -> None:
    assert {table for table, _, _ in columns(base)} == {f"claims_{name}" for name in TABLES + EMPTY} | {
        "sqlite_sequence"
    }
