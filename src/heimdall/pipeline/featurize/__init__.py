"""Stage featurize: data/snapshot/ -> data/features/, and who is held out (the split).

Imports `core`, `geometry`, `recordings` and `signal`.
"""

__all__ = ["featurize", "places", "split", "tables", "times"]
