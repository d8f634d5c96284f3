"""The base classes of the public methods."""

from __future__ import annotations

from .. import validate
from ..backend import Backend, WriterBackend
from ..errors import InvalidArgumentError
from ..interface import WorkerSession
from ..model import Duration

# A hundred years, in microseconds. Only a duration of more than a hundred years can end after 9999, the last year of a
# Python date.
_LONG_US = 100 * 365 * 86_400 * 1_000_000


class SharedFront:
    """The base class of the methods that stores and transactions share."""

    _backend: WriterBackend

    def _duration_us(self, argument: str, value: Duration) -> int:
        us = validate.duration_us(argument, value)
        return us if us < _LONG_US else validate.duration_us(argument, value, wall_us=self._backend.wall_us())

    def _session_id(self, session: WorkerSession) -> int:
        if not isinstance(session, self._backend.session_type):
            raise InvalidArgumentError(f"session must come from open_session(), not {validate.shown(session)}")
        if not session.is_open:
            raise InvalidArgumentError("session is closed")
        return session.id


class StoreFront:
    """The base class of the methods that only stores have."""

    _backend: Backend[WorkerSession]
