"""The rules for the sessions of workers."""

from __future__ import annotations

from ..records import Session
from .search import Search


class Sessions(Search):
    """The rules for the sessions of workers."""

    def open_session(self, worker_id: str) -> Session:
        self.dead_sessions.intersection_update(self.state.sessions)  # a session that was removed has no claims
        session = Session(self.state.next_session, worker_id, self.wall)
        self.state.next_session += 1
        self.state.sessions[session.id] = session
        return session

    def close_session(self, id: int) -> None:
        """End a session that its worker closes. The session's claims are lost at once."""
        if id in self.state.sessions:
            self.dead_sessions.add(id)
            self._lose_claims_of(id)
