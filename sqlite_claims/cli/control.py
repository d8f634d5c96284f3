"""The commands that change or check a store: from ``pause`` and ``cancel`` to ``backup``, ``restore`` and ``check``."""

from __future__ import annotations

import click

from ..errors import BackendError, InvalidStateError, NotFoundError
from ..model import TaskState
from ..sqlite.maintenance.restoring import restore
from .app import open_store
from .exit_status import ExitStatus
from .options import DurationType, database
from .signals_as_exceptions import signals_as_exceptions
from .text import clean, plural

_INSTANCES_PER_PRUNE = 1000


@click.command("pause")
@database
@click.argument("instance")
def pause_command(database: str, instance: str) -> None:
    """Pause INSTANCE: stop handing out the instance's tasks until the instance is resumed.

    Tasks that are running may finish.
    """
    with open_store(database) as store:
        store.pause_instance(instance)


@click.command("resume")
@database
@click.argument("instance")
def resume_command(database: str, instance: str) -> None:
    """Resume the paused INSTANCE: the instance's tasks are handed out again."""
    with open_store(database) as store:
        store.resume_instance(instance)


@click.command("cancel")
@database
@click.argument("instance")
@click.option("--reason", help="Text that is stored with the instance.")
def cancel_command(database: str, instance: str, reason: str | None) -> None:
    """Cancel INSTANCE permanently, with all its tasks that have not ended.

    A running task loses its claim, and its result is not stored.
    """
    with open_store(database) as store:
        store.cancel_instance(instance, reason)


@click.command("retry")
@database
@click.argument("instance")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
def retry_command(database: str, instance: str, tasks: tuple[str, ...]) -> None:
    """Retry the failed TASKs of INSTANCE, or all its failed tasks.

    The attempts of a retried task are counted from zero again. A task that was cancelled because a retried task had
    failed waits for that task again.
    """
    with open_store(database) as store:
        names = tasks or [task.task_id for task in store.list_tasks(instance, states=[TaskState.FAILED])]
        retried = 0
        for name in names:
            try:
                store.retry_task(instance, name)
                retried += 1
            except (InvalidStateError, NotFoundError) as error:
                if not tasks:  # another process has retried or removed the task since it was listed
                    continue
                if not retried:
                    raise
                raise BackendError(f"{error}; {plural(retried, 'task')} will be retried") from error
    click.echo(f"{plural(retried, 'task')} will be retried")


@click.command("release")
@database
@click.argument("instance")
@click.argument("task")
@click.option("--worker", help="Release the task only if this worker holds it.")
def release_command(database: str, instance: str, task: str, worker: str | None) -> None:
    """Release the claimed TASK of INSTANCE, no matter which worker holds the claim.

    Another worker may start the task at once. The previous worker is not stopped, but its result is not stored.
    """
    with open_store(database) as store:
        claim = store.get_task(instance, task).claim
        if claim is None:
            raise InvalidStateError(f"task {task!r} of instance {instance!r} is not claimed")
        store.release_task_claim(instance, task, worker or claim.worker_id)
    click.echo(f"{clean(task)} released; worker {clean(claim.worker_id)} held it")


@click.command("prune")
@database
@click.option(
    "--older-than", type=DurationType(), required=True, help="Delete instances that ended longer ago than this."
)
def prune_command(database: str, older_than: float) -> None:
    """Delete instances that ended long ago, with their tasks, inputs and outputs.

    \b
        sqlite-claims prune jobs.db --older-than 30d

    An instance to which a running map, add or durable_map still adds tasks is kept.
    """
    deleted = 0
    with open_store(database) as store:
        while count := store.prune(older_than, limit=_INSTANCES_PER_PRUNE):
            deleted += count
    click.echo(f"{plural(deleted, 'instance')} deleted")


@click.command("backup")
@database
@click.argument("path", type=click.Path(dir_okay=False))
def backup_command(database: str, path: str) -> None:
    """Back up DB: write a consistent copy to the new file PATH while workers run."""
    with signals_as_exceptions(), open_store(database, read_only=True) as store:
        store.backup(path)


@click.command("restore")
@click.argument("backup", type=click.Path(dir_okay=False))
@database
@click.option("--replace", is_flag=True, help="Overwrite an existing store at DB.")
def restore_command(backup: str, database: str, replace: bool) -> None:
    """Restore the store DB from BACKUP.

    DB must not exist, unless --replace is given. No process may have DB open.

    A task that was claimed at the time of the backup becomes available when the restored store is first used. This
    does not count as a loss. New claims get larger tokens than all claims of the backed-up store and of the store that
    was replaced. Therefore a worker with an old claim cannot change the restored store.
    """
    with signals_as_exceptions():
        restore(backup, database, replace=replace)


@click.command("check")
@database
@click.pass_context
def check_command(ctx: click.Context, /, database: str) -> None:
    """Check the file for corruption, and print "ok" or one line for each problem.

    Exit status: 0 if no problem was found, 1 otherwise.
    """
    with open_store(database, read_only=True) as store:  # read-only, because opening a backup for writing changes it
        problems = store.check()
    for problem in problems:
        click.echo(clean(problem))
    if problems:
        ctx.exit(ExitStatus.FAILED)
    click.echo("ok")
