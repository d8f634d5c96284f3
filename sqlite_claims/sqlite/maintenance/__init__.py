"""Work on the file as a whole: backups, restoring, checking, and the baseline of ``sqlite-claims bench``."""
