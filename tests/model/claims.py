"""The rules that find, claim and settle tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from .base import Stores, indices, limits, seconds, ttls, worker_ids, worker_kinds, worker_tags

# Calls that a holder makes with its claim, each with a number of seconds or None.
SETTLE: dict[str, Callable[[Any, Any, int | None], Any]] = {
    "complete": lambda store, claim, _: store.complete_task(claim, b"out"),
    "complete with nothing": lambda store, claim, _: store.complete_task(claim),
    "fail": lambda store, claim, seconds: store.fail_task(claim, "broke", retry_in=seconds),
    "fail again": lambda store, claim, _: store.fail_task(claim, "broke in another way"),
    "fail for good": lambda store, claim, _: store.fail_task(claim, "hopeless", retry=False),
    "release": lambda store, claim, _: store.release_task(claim),
    "snooze": lambda store, claim, seconds: store.release_task(claim, delay=seconds),
}
SETTLE_MANY: dict[str, Callable[[Any, Any], Any]] = {
    "renew": lambda store, claims: store.renew_task_claims(claims, 20),
    "complete": lambda store, claims: store.complete_tasks([(claim, b"many") for claim in claims]),
    "fail": lambda store, claims: store.fail_tasks([(claim, "all broke") for claim in claims]),
    "release": lambda store, claims: store.release_tasks(claims),
}


class Claims(Stores):
    """The rules that find, claim and settle tasks. Some claims were lost long ago."""

    @rule(worker=worker_ids, limit=limits, tags=worker_tags, kinds=worker_kinds)
    def find(self, worker: str, limit: int, tags: Any, kinds: Any) -> None:
        self.ask(lambda store: store.find_available_tasks(worker, limit, tags=tags, kinds=kinds))
        self.ask(lambda store: store.wait_for_tasks(0, tags=tags, kinds=kinds))

    @rule(worker=worker_ids, limit=limits, ttl=ttls, tags=worker_tags, kinds=worker_kinds, session=indices)
    def claim_available(self, worker: str, limit: int, ttl: Any, tags: Any, kinds: Any, session: int) -> None:
        found = self.ask(
            lambda store, own: store.claim_available_tasks(worker, limit, ttl, tags=tags, kinds=kinds, session=own),
            self.nobodys_or_one_of(session),
        )
        for same in zip(*(found or ()), strict=True):
            self.claims.append(tuple(claimed.claim for claimed in same))

    @rule(nth=indices, worker=worker_ids, ttl=ttls, session=indices)
    def claim_by_name(self, nth: int, worker: str, ttl: Any, session: int) -> None:
        names = self.task_names(nth)
        found = self.ask(
            lambda store, own: store.claim_task(*names, worker, ttl, session=own), self.nobodys_or_one_of(session)
        )
        if found is not None and found[0] is not None:
            self.claims.append(found)

    @precondition(lambda self: any(claim.is_expired() for (claim, *_) in self.claims))
    @rule(worker=worker_ids, ttl=ttls)
    def take_over_what_has_expired(self, worker: str, ttl: Any) -> None:
        for claim in [one[0] for one in self.claims if one[0].is_expired()]:
            found = self.ask(lambda store, claim=claim: store.claim_task(claim.instance_id, claim.task_id, worker, ttl))
            if found is not None and found[0] is not None:
                self.claims.append(found)

    @precondition(lambda self: self.claims)
    @rule(nth=indices, ttl=ttls)
    def renew(self, nth: int, ttl: Any) -> None:
        place = -1 - nth % len(self.claims)
        renewed = self.ask(lambda store, own: store.renew_task_claim(own, ttl), self.claims[place])
        self.claims[place] = renewed or self.claims[place]

    @rule(worker=worker_ids, what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def do_what_comes_next(self, worker: str, what: str, seconds: int | None) -> None:
        found = self.ask(lambda store: store.claim_available_tasks(worker))
        assert found is not None
        for same in zip(*found, strict=True):
            claim = tuple(claimed.claim for claimed in same)
            self.ask(lambda store, own: SETTLE[what](store, own, seconds), claim)
            self.stale.append(claim)

    @precondition(lambda self: self.claims)
    @rule(what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def settle_the_newest(self, what: str, seconds: int | None) -> None:
        self.settle(0, what, seconds)

    @precondition(lambda self: self.claims)
    @rule(nth=indices, what=st.sampled_from(sorted(SETTLE)), seconds=st.one_of(st.none(), seconds))
    def settle_one(self, nth: int, what: str, seconds: int | None) -> None:
        self.settle(nth, what, seconds)

    def settle(self, nth: int, what: str, seconds: int | None) -> None:
        claim = self.claims.pop(-1 - nth % len(self.claims))
        self.ask(lambda store, own: SETTLE[what](store, own, seconds), claim)
        self.stale.append(claim)

    @precondition(lambda self: self.stale)
    @rule(nth=indices, what=st.sampled_from(sorted(SETTLE)), token=st.sampled_from([None, None, -1, 0, 1, 2, 3]))
    def settle_what_was_settled_before(self, nth: int, what: str, token: int | None) -> None:
        claim = self.stale[-1 - nth % len(self.stale)]
        if token is not None:
            claim = tuple(replace(own, token=token) for own in claim)
        self.ask(lambda store, own: SETTLE[what](store, own, None), claim)

    @precondition(lambda self: self.claims)
    @rule(nth=indices, worker=st.one_of(st.none(), worker_ids), by=st.one_of(st.none(), seconds))
    def release_or_extend_by_name(self, nth: int, worker: str | None, by: int | None) -> None:
        claim = self.claims[-1 - nth % len(self.claims)][0]
        names = claim.instance_id, claim.task_id, worker or claim.worker_id
        if by is None:
            self.ask(lambda store: store.release_task_claim(*names))
        else:
            self.ask(lambda store: store.extend_task_claim(*names, by))

    @precondition(lambda self: self.claims)
    @rule(chosen=st.lists(indices, min_size=1, max_size=5), what=st.sampled_from(sorted(SETTLE_MANY)))
    def settle_many(self, chosen: list[int], what: str) -> None:
        some = [*self.claims[-4:], *self.stale[-1:]]
        batch = [some[nth % len(some)] for nth in chosen]
        self.ask(SETTLE_MANY[what], tuple(zip(*batch, strict=True)))
