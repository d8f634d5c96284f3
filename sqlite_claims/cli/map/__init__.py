"""``sqlite-claims map``: one command per line of input, N at a time, in one process with one thread."""
