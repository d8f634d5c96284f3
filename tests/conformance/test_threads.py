"""One store object, shared by threads."""

from __future__ import annotations

import threading
from typing import Any

from sqlite_claims import InstanceState, NewTask


def test_threads_that_share_a_store_do_each_task_once(store: Any) -> None:
    store.add_instance("i", [NewTask(f"t{n}", depends_on=[f"t{n - 10}"] if n >= 10 else []) for n in range(200)])
    done: list[str] = []
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            while store.get_instance("i").state is InstanceState.IN_PROGRESS:
                for claimed in store.claim_available_tasks(name, 3):
                    done.append(claimed.task.task_id)
                    store.complete_task(claimed.claim)
        except BaseException as error:  # noqa: BLE001 - the main thread checks the error
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(done) == sorted(f"t{n}" for n in range(200))
    assert store.get_instance("i").state is InstanceState.COMPLETED
    assert store.check() == []


def test_of_many_threads_that_claim_one_task_one_gets_it(store: Any) -> None:
    store.add_instance("i", [NewTask("t")])
    barrier = threading.Barrier(8)
    claims: list[Any] = []

    def claim(name: str) -> None:
        barrier.wait()
        claims.append(store.claim_task("i", "t", name, 30))

    threads = [threading.Thread(target=claim, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1
