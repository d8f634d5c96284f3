"""Measurements of the store's speed, compared with baselines that are timed in the same run.

``python -m benchmarks`` compares the figures with their targets; ``pytest benchmarks`` times single operations.
"""
