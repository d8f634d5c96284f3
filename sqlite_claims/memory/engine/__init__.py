"""The rules of each operation, applied to a ``State``. Callers do the locking and check the arguments.

Every method makes all checks before it changes the state. So a method that raises an error has changed nothing.
"""

from .clocks import Clocks
from .instances import Instances
from .sessions import Sessions

__all__ = ["Engine"]


class Engine(Clocks, Sessions, Instances):
    """The rules of all operations of a store in memory."""
