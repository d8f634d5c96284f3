"""Compare this store with other queues in SQLite files. All queues are measured in one run, each in a separate
environment."""

from .rounds import CASES, figures

__all__ = ["CASES", "figures"]
