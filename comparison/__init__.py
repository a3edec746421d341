"""Comparison of engines on the same prompts and seeds: specifications, runs, results, report."""
