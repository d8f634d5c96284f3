"""``sqlite-claims map``: run a command for each line of input, N commands in parallel.

One process with one thread starts the commands and reads their output.
"""
