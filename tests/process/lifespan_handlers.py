"""Handlers with lifespans, middleware and codecs, for worker processes in tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

from sqlite_claims import StopWorker, TaskContext, TaskRegistry, current_task

pool_handlers: Any = import_module("pool_handlers")  # by name, because this folder is not a package for the pool
pass_gate, say = pool_handlers.pass_gate, pool_handlers.say
other = TaskRegistry()
registry = TaskRegistry()
fails = os.environ.get("LIFESPAN_FAILS", "")


@registry.lifespan
def outer() -> Iterator[None]:
    say(f"enter-outer {os.getpid()}")
    yield
    say(f"leave-outer {os.getpid()}")


@other.lifespan
async def inner() -> AsyncIterator[None]:
    if fails == "enter":
        raise ValueError("cannot be entered")
    say(f"enter-inner {os.getpid()}")
    yield
    say(f"leave-inner {os.getpid()}")


@other.task("double", codec="json")
def double(value: int) -> list[Any]:
    return [value, value, current_task().task_id]


@other.task("gated", codec="json")
async def gated() -> int:
    say(f"gated {os.getpid()}")
    await asyncio.to_thread(pass_gate)
    return os.getpid()


@other.task("stop")
def stop(_: TaskContext) -> None:
    raise StopWorker


registry.include(other)


@registry.middleware
def add_attempt(call_next: Any, context: TaskContext) -> Any:
    result = call_next(context)
    return [*result, context.attempt] if isinstance(result, list) else result
