"""The -wal file: syncing it, recovering from a failed sync, and copying it back into the database."""
