"""The configuration that a supervisor passes to each process of its pool, as one line of JSON on standard input."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypedDict

from . import typed_json
from .options import WorkerOptions


class StoreOptions(TypedDict, total=False):
    """The arguments of ``SqliteClaimStore`` that a pool's ``store_options`` may contain."""

    create: bool
    durability: Literal["full", "process"]
    busy_timeout: float
    use_c_core: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """The settings that all processes of a pool share.

    ``handlers``: the import path of the handlers, or one path for each kind. ``adapter``: the import path of a function
    that turns the imported objects into handlers. ``main_file``: the program's main file, or ``None`` if the main file
    defines no handlers. ``log_levels``: the level of each logger by name; the root logger's name is ``""``.
    ``log_disabled_level``: the argument of ``logging.disable``.
    """

    path: str
    handlers: str | dict[str, str]
    adapter: str | None = None
    main_file: str | None = None
    options: WorkerOptions
    store_options: StoreOptions
    max_tasks: int | None
    max_memory_bytes: int | None
    until_idle: bool = False
    log_levels: dict[str, int]
    log_disabled_level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildConfig:
    """The configuration of one process. The fields ``*_fd`` are descriptors that the process inherits.

    ``sys_path`` and ``sys_argv`` are copies of the supervisor's ``sys.path`` and ``sys.argv``, so that the process can
    import the same modules.
    """

    pool: PoolConfig
    worker_id: str
    control_fd: int
    log_fd: int
    scoreboard_fd: int
    sys_path: list[str]
    sys_argv: list[str]

    def options(self) -> WorkerOptions:
        """Return the options of the worker in this process. The options contain no time limit for tasks, because the
        supervisor enforces the time limit."""
        return replace(self.pool.options, worker_id=self.worker_id, task_timeout=None)


def encode(config: ChildConfig) -> bytes:
    """Return a configuration as one line of JSON."""
    return json.dumps(asdict(config)).encode() + b"\n"


def decode(fields: object) -> ChildConfig:
    """Return the configuration from the parsed JSON line. Raises ``ValueError`` if ``fields`` is not a
    configuration."""
    return typed_json.build(ChildConfig, fields)
