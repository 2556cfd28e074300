"""Mutated input for every reader of foreign data: `python benchmarks/fuzz.py`."""
