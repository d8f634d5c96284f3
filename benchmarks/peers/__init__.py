"""Compare this store with other queues in SQLite files. All of them are measured in one run, each in a separate
environment."""

from .rounds import CASES, figures

__all__ = ["CASES", "figures"]
