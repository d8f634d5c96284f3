"""A store that is opened for reading writes nothing, not even the small updates that methods otherwise make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sqlite_claims import InvalidStateError, NewTask, SqliteClaimStore
from tests.conformance.test_transaction import WRITES


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_writing_method_is_refused(tmp_path: Path, write: Callable[[Any, Any], Any]) -> None:
    with SqliteClaimStore(tmp_path / "jobs.db") as store:
        store.add_instance("i", [NewTask("t"), NewTask("u")])
        claim = store.claim_task("i", "t", "w", 30)
        with SqliteClaimStore(store.path, read_only=True) as reader, pytest.raises(InvalidStateError, match="read"):
            write(reader, claim)
        assert store.get_task("i", "t").claim == claim
