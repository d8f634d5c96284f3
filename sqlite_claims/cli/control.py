"""``pause``, ``resume``, ``cancel``, ``retry``, ``release``, ``prune``, ``backup``, ``restore`` and ``check``."""

from __future__ import annotations

import click

from ..errors import AlreadyExistsError, BackendError, InvalidStateError, NotFoundError
from ..model import TaskState
from ..sqlite.maintenance.restoring import restore
from .app import database, open_store
from .signals_as_exceptions import unwinding
from .text import SpanType, clean

_PRUNE_STEP = 1000


@click.command("pause")
@database
@click.argument("instance")
def pause_command(database: str, instance: str) -> None:
    """Let no task of INSTANCE be claimed until it is resumed. What runs may finish."""
    with open_store(database) as store:
        store.pause_instance(instance)


@click.command("resume")
@database
@click.argument("instance")
def resume_command(database: str, instance: str) -> None:
    """End the pause of INSTANCE."""
    with open_store(database) as store:
        store.resume_instance(instance)


@click.command("cancel")
@database
@click.argument("instance")
@click.option("--reason", help="Kept with the instance.")
def cancel_command(database: str, instance: str, reason: str | None) -> None:
    """End INSTANCE for good: what has not ended is cancelled, what runs loses its claim."""
    with open_store(database) as store:
        store.cancel_instance(instance, reason)


@click.command("retry")
@database
@click.argument("instance")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
def retry_command(database: str, instance: str, tasks: tuple[str, ...]) -> None:
    """Start failed TASKs of INSTANCE over, or all that failed."""
    with open_store(database) as store:
        names = tasks or [task.task_id for task in store.list_tasks(instance, states=[TaskState.FAILED])]
        started = 0
        for name in names:
            try:
                store.retry_task(instance, name)
                started += 1
            except (InvalidStateError, NotFoundError) as error:
                if not tasks:  # it failed no more when its turn came, or was pruned
                    continue
                if not started:
                    raise
                raise BackendError(f"{error}; {started} before it are to be tried again") from error
    click.echo(f"{started} to be tried again")


@click.command("release")
@database
@click.argument("instance")
@click.argument("task")
@click.option("--worker", help="Only if this worker holds it.")
def release_command(database: str, instance: str, task: str, worker: str | None) -> None:
    """Give TASK of INSTANCE back, whoever holds it.

    It may be started elsewhere at once; what its holder is doing is not stopped, but its result will be refused.
    """
    with open_store(database) as store:
        claim = store.get_task(instance, task).claim
        if claim is None:
            raise InvalidStateError(f"task {task!r} of instance {instance!r} is not claimed")
        store.release_task_claim(instance, task, worker or claim.worker_id)
    click.echo(f"{clean(task)} was given back by {clean(claim.worker_id)}")


@click.command("prune")
@database
@click.option("--older-than", type=SpanType(), required=True, help="Ended longer ago than this, as in 12h or 30d.")
def prune_command(database: str, older_than: float) -> None:
    """Remove instances that ended long ago, with their tasks, inputs and outputs."""
    removed = 0
    with open_store(database) as store:
        while step := store.prune(older_than, limit=_PRUNE_STEP):
            removed += step
    click.echo(f"{removed} removed")


@click.command("backup")
@database
@click.argument("path", type=click.Path(dir_okay=False))
def backup_command(database: str, path: str) -> None:
    """Write a consistent copy of DB to PATH, a new file, while workers run."""
    with unwinding(), open_store(database, read_only=True) as store:
        store.backup(path)


@click.command("restore")
@click.argument("backup", type=click.Path(dir_okay=False))
@database
@click.option("--replace", is_flag=True, help="Even if there is a store at DB, which is gone then.")
def restore_command(backup: str, database: str, replace: bool) -> None:
    """Put a copy of BACKUP at DB, where nothing is yet, and which no process has open.

    The copy's claims are ended, without a loss, when it is first used, and the tokens of new ones are larger than those
    of the store that the backup was made of, and of the one that it replaces.
    """
    try:
        with unwinding():
            restore(backup, database, replace=replace)
    except AlreadyExistsError as error:
        raise error if replace else AlreadyExistsError(f"{error} (by --replace)") from None


@click.command("check")
@database
@click.pass_context
def check_command(ctx: click.Context, /, database: str) -> None:
    """Look for damage. Exit status 0 when all is well, 1 when something was found."""
    with open_store(database, read_only=True) as store:  # which puts no backup to work
        found = store.check()
    for finding in found:
        click.echo(clean(finding))
    if found:
        ctx.exit(1)
    click.echo("ok")
