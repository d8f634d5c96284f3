"""``InMemoryClaimStore``: what every store means, in dictionaries and lists.

For users' tests, and the oracle that the file store is checked against. It is written from the contract and shares no
code with ``sqlite``: where the two disagree, one of them is wrong. ``records`` holds the state, ``engine`` the
meaning, ``reading`` what is shown of it, ``writer`` the methods that a store and a transaction share, ``store`` the
locking.
"""

from .store import InMemoryClaimStore, InMemorySession

__all__ = ["InMemoryClaimStore", "InMemorySession"]
