"""Other queues in SQLite files, each in an environment of its own, side by side with this store in one run."""

from .rounds import CASES, figures

__all__ = ["CASES", "figures"]
