"""Speed, compared with baselines timed in the same run. ``python -m benchmarks`` compares the figures with their
targets; ``pytest benchmarks`` times the single operations."""
