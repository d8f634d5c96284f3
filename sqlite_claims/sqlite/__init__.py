"""The engine on SQLite. Its operations are functions that run within an open transaction of a ``Database``.

The package must not import the workers or the command line.
"""
