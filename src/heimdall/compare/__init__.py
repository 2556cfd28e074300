"""Two models on the same test sessions: figures, paired intervals, sample size, the review of a branch.

Imports `reproduce`, `inference`, the stages' rooms, and what they import.
"""

__all__ = ["contest", "figure", "review", "sample_size", "scorecard"]
