"""``InMemoryClaimStore``: the meaning of every store, in dictionaries and lists.

For users' tests, and the oracle that the file store is checked against. It is written from the contract and shares no
code with ``sqlite``: if the two disagree, one of them is wrong. ``records`` holds the state, ``engine`` the
meaning, ``reading`` makes the records for callers, ``backend`` has the operations and the locking.
"""

from .session import InMemorySession
from .store import InMemoryClaimStore

__all__ = ["InMemoryClaimStore", "InMemorySession"]
