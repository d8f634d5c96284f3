"""All that knows SQLite. Its modules are functions over an open transaction of a ``Database``; the store calls them.

Must not import the store, the workers or the command.
"""
