"""Work on the whole file: backups, restoring, checking, and the baseline of ``sqlite-claims bench``."""
