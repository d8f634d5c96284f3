"""The engine on SQLite. Its operations are functions that run within an open transaction of a ``Database``.

Must not import the store, the workers or the command.
"""
