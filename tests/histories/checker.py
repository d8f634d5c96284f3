"""Search the logs of several processes for contradictions, after the processes have ended. Only one process holds the
claim of a task at a time.

Each call took effect at some moment between the begin and the end of the call. A call without an outcome, because its
process was killed, may have taken effect or not. Tokens order the grants of a task, so each of these rules can be
checked separately:

* A token is granted once. If one grant of a task began after an earlier grant had ended, the later grant has the larger
token. * No call with a token succeeds after a larger token was granted, or after the claim was settled. * A completed
task is never granted again. The store contains every acknowledged result at the end. * A claim is taken over only if
the claim may have expired, the claim was released, or the holder's process was killed. * A call reports a lost claim
only if some event may have ended the claim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

ENDINGS = ("complete", "fail", "release")
NS = 1_000_000_000


@dataclass(slots=True)
class Call:
    """One call of one process. Times are nanoseconds of the monotonic clock."""

    pid: int
    name: str
    began: int
    task: str = ""
    token: int = 0
    lease: float = 0.0
    ended: float = inf
    outcome: str = ""  # "" if the process was killed during the call
    granted: list[tuple[str, int]] = field(default_factory=list)
    error: str = ""

    @property
    def may_have_taken_effect(self) -> bool:
        return self.outcome in ("done", "")


@dataclass(slots=True)
class Grant:
    """A claim, with the values that the holder has logged."""

    token: int
    call: Call


@dataclass(slots=True)
class Log:
    """The log of one process."""

    pid: int = 0
    gone: float = inf  # time at which the process ended without being killed
    calls: list[Call] = field(default_factory=list)


def read(path: Path) -> Log:
    """Read the log of one process."""
    log, calls = Log(), dict[int, Call]()
    for line in path.read_text("utf-8").splitlines():
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:  # the line was cut off by a kill
            continue
        if "pid" in event:
            log.pid = event["pid"]
        elif "gone" in event:
            log.gone = event["at"]
        elif "call" in event:
            about = {name: event[name] for name in ("task", "token", "lease") if name in event}
            calls[event["number"]] = Call(log.pid, event["call"], event["at"], **about)
        else:
            call = calls[event["number"]]
            call.ended, call.outcome = event["at"], event["outcome"]
            call.granted = [(task, token) for task, token in event.get("granted", [])]
            call.error = event.get("error", "")
    log.calls = list(calls.values())
    return log


class History:
    """All calls of all processes, and the state of the store at the end."""

    def __init__(self, calls: Iterable[Call], gone: Mapping[int, float], completed: dict[str, str]) -> None:
        """
        Args:
            calls: The calls of all processes.
            gone: By process id, the time at which the process ended without being killed, or a time shortly before it
                was killed.
            completed: The outputs of the tasks that were completed at the end, by task.
        """
        self.calls = list(calls)
        self.gone = gone
        self.completed = completed
        self.grants: dict[str, list[Grant]] = defaultdict(list)
        self.settling: dict[tuple[str, int], list[Call]] = defaultdict(list)
        self.of_task: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            for task, token in call.granted:
                self.grants[task].append(Grant(token, call))
            if call.task:
                self.settling[call.task, call.token].append(call)
                self.of_task[call.task].append(call)
        unknown = [call.began for call in self.calls if call.name == "claim" and not call.outcome]
        self.first_unknown_claim = min(unknown, default=inf)

    def faults(self) -> Iterator[str]:
        """Return a description of each contradiction."""
        for task, grants in self.grants.items():
            grants.sort(key=lambda grant: grant.token)
            yield from self._order(task, grants)
            for place, grant in enumerate(grants):
                yield from self._claim(task, grant, grants[place + 1 :])
        yield from self._completions()

    def _order(self, task: str, grants: list[Grant]) -> Iterator[str]:
        latest_end = inf
        for before, after in pairwise(grants):
            if before.token == after.token:
                yield f"{task}: token {after.token} was granted twice"
        for grant in reversed(grants):
            if grant.call.began > latest_end:
                yield f"{task}: token {grant.token} was granted after a larger one"
            latest_end = min(latest_end, grant.call.ended)

    def _claim(self, task: str, grant: Grant, later: list[Grant]) -> Iterator[str]:
        calls = self.settling[task, grant.token]
        taken_over = min((other.call.ended for other in later), default=inf)
        given_up = min((call.ended for call in calls if call.name in ENDINGS and call.outcome == "done"), default=inf)
        for call in calls:
            if call.outcome == "done" and call.began > min(taken_over, given_up):
                yield f"{task}: {call.name} by token {grant.token} of {call.pid} was done after its claim had ended"
            if call.outcome == "lost" and not self._may_be_lost(call, calls, later):
                yield f"{task}: {call.name} by token {grant.token} of {call.pid} was lost, and nothing had ended it"
        if later and any(call.name == "complete" and call.outcome == "done" for call in calls):
            yield f"{task}: token {later[0].token} was granted although token {grant.token} had completed it"
        for other in later[:1]:
            if not self._may_be_taken_over(grant, calls, other.call):
                yield f"{task}: token {other.token} was granted while {grant.call.pid} held {grant.token}"

    def _may_be_lost(self, call: Call, calls: list[Call], later: list[Grant]) -> bool:
        endings = (
            other.began
            for other in calls
            if other is not call and other.name in ENDINGS and other.may_have_taken_effect
        )
        grants = (other.call.began for other in later)
        return min([*endings, *grants, self.first_unknown_claim], default=inf) < call.ended

    def _may_be_taken_over(self, grant: Grant, calls: list[Call], by: Call) -> bool:
        if any(call.name in ENDINGS and call.may_have_taken_effect and call.began < by.ended for call in calls):
            return True
        renewals = [call for call in calls if call.name == "renew" and call.outcome == "done" and call.ended < by.began]
        expires = max(call.began + call.lease * NS for call in [grant.call, *renewals])
        return expires < by.ended or self.gone.get(grant.call.pid, inf) < by.ended

    def _completions(self) -> Iterator[str]:
        for task, calls in self.of_task.items():
            completing = [call for call in calls if call.name == "complete" and call.may_have_taken_effect]
            acknowledged = [f"{call.pid}:{call.token}" for call in completing if call.outcome == "done"]
            stored = self.completed.get(task)
            if len(acknowledged) > 1:
                yield f"{task} was completed more than once: {acknowledged}"
            if acknowledged and stored not in acknowledged:
                yield f"{task}: the store holds {stored}, and {acknowledged} was acknowledged"
            if stored is not None and stored not in [f"{call.pid}:{call.token}" for call in completing]:
                yield f"{task}: the store holds {stored}, which nobody gave"
        for task in self.completed.keys() - self.of_task.keys():
            yield f"{task} is completed, and nobody had tried"
