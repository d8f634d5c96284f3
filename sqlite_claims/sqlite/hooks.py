"""A connection class that keeps the hooks that the application has registered with ``apsw.connection_hooks``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw


class HookedConnection(apsw.Connection):
    """A connection that records which hooks ``apsw.connection_hooks`` have set. A connection has only one hook of each
    type, and the store needs some of the hooks itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.has_commit_hook = False
        self.wal_hook: Any = None
        super().__init__(*args, **options)  # this call runs apsw.connection_hooks

    def set_commit_hook(self, *args: Any, **options: Any) -> None:
        self.has_commit_hook = True
        super().set_commit_hook(*args, **options)

    def set_rollback_hook(self, *args: Any, **options: Any) -> None:
        self.has_commit_hook = True
        super().set_rollback_hook(*args, **options)

    def set_wal_hook(self, callable: Any) -> None:
        self.wal_hook = callable
        super().set_wal_hook(callable)

    setcommithook, setrollbackhook, setwalhook = set_commit_hook, set_rollback_hook, set_wal_hook

    def add_authorizer(self, ours: Callable[..., int]) -> None:
        """Set the store's authorizer. If the application has set an authorizer, too, an action is allowed only if both
        authorizers allow the action."""
        theirs = self.authorizer
        if theirs is None:
            self.set_authorizer(ours)
        else:
            self.set_authorizer(lambda *action: ours(*action) or theirs(*action))
