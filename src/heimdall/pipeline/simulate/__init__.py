"""Stage simulate: sessions of other worlds -> data/simulated/, in the form of data/features/.

Imports `pipeline/featurize`, the room `simulate`, and what they import.
"""

__all__ = ["simulated"]
