"""Two models on the same test sessions: figures, paired intervals, sample size, page, review of a branch.

Imports `reproduce`, `inference`, `pages`, the stages' rooms, and what they import.
"""

__all__ = ["contest", "figure", "page", "review", "sample_size", "scorecard"]
