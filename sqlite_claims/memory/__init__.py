"""``InMemoryClaimStore``: the complete behaviour of a claim store, in dictionaries and lists.

It serves users' tests, and the tests of this project compare the file store with it. It is written from the
specification and shares no code with ``sqlite``: if the two disagree, one of them is wrong. ``records`` holds the
state, ``engine`` the meaning, ``reading`` makes the records for callers, ``backend`` has the operations and the
locking.
"""

from .session import InMemorySession
from .store import InMemoryClaimStore

__all__ = ["InMemoryClaimStore", "InMemorySession"]
