"""Two records that the modules of a worker pass to each other: an ended attempt and the key of a claim."""

from __future__ import annotations

from typing import NamedTuple

from ..model import ClaimedTask, TaskClaim
from .execute import Result

ClaimKey = tuple[str, str, int]


class EndedAttempt(NamedTuple):
    """A claimed task whose handler has ended, the handler's result, and the handler's running time in seconds."""

    claimed: ClaimedTask
    result: Result
    seconds: float


def claim_key(claim: TaskClaim) -> ClaimKey:
    """Return the instance id, task id and token of a claim. A renewal of the claim changes none of the three values."""
    return claim.instance_id, claim.task_id, claim.token
