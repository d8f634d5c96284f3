"""The Protocols of the methods that add, change and read tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal, Protocol, TypedDict, Unpack

from ..model import AttemptInfo, Duration, NewTask, RetryPolicy, TaskInfo, TaskRef, TaskState

IfExists = Literal["error", "skip"]


class TaskOptions(TypedDict, total=False):
    """The options of ``enqueue``. ``NewTask`` describes each of them."""

    priority: int
    tags: Iterable[str]
    delay: Duration | None
    available_at: datetime | None
    max_attempts: int
    max_lost: int
    retry: RetryPolicy
    unique_key: str | None
    metadata: Mapping[str, str] | None
    timeout: Duration | None
    expires_at: datetime | None


class SharedTasks(Protocol):
    """The methods for tasks that stores and transactions share."""

    def add_instance(
        self,
        instance_id: str,
        tasks: Iterable[NewTask] = (),
        *,
        definition_hash: str = "",
        if_exists: IfExists = "error",
    ) -> bool:
        """Add an instance and its first tasks, in one transaction.

        Args:
            instance_id: Name of the instance.
            tasks: At most 100,000 tasks, or a ``TaskBatch``. Tasks may depend on each other, in any order.
            definition_hash: Free text that workers get with each task, for example the version of your workflow.
            if_exists: If an instance of that name is stored: ``"error"`` raises an error, ``"skip"`` changes nothing.

        Returns:
            ``True`` if the instance was added. ``False`` is possible only with ``if_exists="skip"``.

        Raises:
            AlreadyExistsError: An instance of that name is stored.
            InvalidArgumentError: Dependencies form a cycle, a dependency is unknown, or two tasks have the same id.
        """

    def add_tasks(self, instance_id: str, tasks: Iterable[NewTask], *, if_exists: IfExists = "error") -> int:
        """Add tasks to a stored instance, in one transaction.

        The tasks may depend on stored tasks of the instance. If the instance was completed or failed, it is in progress
        again.

        Args:
            instance_id: Name of the instance.
            tasks: At most 100,000 tasks, or a ``TaskBatch``.
            if_exists: If a task of that name is stored: ``"error"`` raises an error, ``"skip"`` leaves out this task.

        Returns:
            The number of added tasks.

        Raises:
            NotFoundError: There is no such instance.
            AlreadyExistsError: A task of that name is stored.
            InvalidStateError: The instance is cancelled, or a dependency has failed or was cancelled.
            InvalidArgumentError: As in ``add_instance``.
        """

    def enqueue(
        self,
        kind: str | None,
        input: bytes | None = None,
        *,
        instance_id: str | None = None,
        if_exists: IfExists = "error",
        **options: Unpack[TaskOptions],
    ) -> TaskRef:
        """Add one task, in an instance of its own. The task has the name ``"task"``.

        Args:
            kind: Name that selects the handler. ``None``: only the handler for all other kinds (``"*"``) gets the task.
            input: Bytes for the handler.
            instance_id: Name of the instance. ``None``: a new UUID, version 7.
            if_exists: If an instance of that name is stored: ``"error"`` raises an error, ``"skip"`` adds nothing.
            options: The options of ``NewTask``, except ``depends_on``.

        Returns:
            The names of the instance and of the task.

        Raises:
            AlreadyExistsError: An instance of that name is stored. With ``if_exists="skip"``: the stored instance has
                no task of the name ``"task"``.
            InvalidArgumentError: ``depends_on`` was given, or an option is wrong.
            TypeError: An option is unknown.
        """

    def retry_task(self, instance_id: str, task_id: str) -> None:
        """Retry a ``FAILED`` task from the start: the task's attempts, failures and losses are 0 again.

        If tasks were cancelled because this task had failed, they wait for this task again. But if such
        a task also depends on a different task that failed or was cancelled, it stays cancelled.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
            InvalidStateError: The task is not ``FAILED``, or its instance is cancelled.
        """

    def get_task(self, instance_id: str, task_id: str) -> TaskInfo:
        """Return all information about one task.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
        """

    def get_tasks(self, refs: Iterable[tuple[str, str]]) -> list[TaskInfo | None]:
        """Return all information about several tasks, as of one moment.

        Args:
            refs: Pairs of the names of an instance and a task.

        Returns:
            One entry for each pair, in the same order. ``None``: there is no such task.
        """


class StoreTasks(Protocol):
    """The methods for tasks that only stores have."""

    def explain_task(self, instance_id: str, task_id: str) -> str:
        """Explain in one sentence why a task is not running.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
        """

    def list_attempts(self, instance_id: str, task_id: str) -> list[AttemptInfo]:
        """Return the attempts of a task that ended without completion, oldest first. The newest 20 are kept.

        The list contains failures, time-outs and losses. Claims that were released or cancelled, or that a reboot
        ended, are not listed. ``retry_task`` keeps the attempts.

        Args:
            instance_id: Name of the instance.
            task_id: Name of the task.

        Raises:
            NotFoundError: There is no such task.
        """

    def list_tasks(
        self,
        instance_id: str | None = None,
        *,
        states: Collection[TaskState] | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskInfo]:
        """Iterate over the tasks of one instance, ordered by name, or over all tasks, in the order of addition.

        The tasks are read in pages, and no read transaction is held between pages.

        Args:
            instance_id: Name of the instance. ``None``: tasks of all instances.
            states: Return only tasks in these states. ``None``: all.
            kinds: Return only tasks of these kinds; ``""`` is the kind of tasks without one. ``None``: every kind.
            limit: Maximum number of tasks. ``None``: all.

        Raises:
            NotFoundError: There is no such instance.
        """
