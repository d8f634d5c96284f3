"""``InMemoryClaimStore``: the complete behaviour of a claim store, in dictionaries and lists.

Users can test their programs with this store, and the tests of this project compare the file store with it. The code is
written from the specification and shares no code with ``sqlite``: if the two stores behave differently, one of the two
has a fault. ``records`` holds the state, ``engine`` the rules of the operations, ``reading`` makes the records for
callers, ``backend`` has the operations and the locking.
"""

from .session import InMemorySession
from .store import InMemoryClaimStore

__all__ = ["InMemoryClaimStore", "InMemorySession"]
