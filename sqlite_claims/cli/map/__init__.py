"""``sqlite-claims map``: one command for each line of input, N in parallel, run by one process with one thread."""
