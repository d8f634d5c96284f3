"""The -wal file: syncs, the recovery from a failed sync, and checkpoints, which copy the -wal file into the
database."""
