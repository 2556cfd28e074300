"""What a model is compared with: localization without learning, and the bounds of Cramer-Rao and van Trees.

Imports `core`, `geometry`, `signal` and `position`.
"""

__all__ = [
    "baselines",
    "cells",
    "cramer_rao",
    "delays",
    "direct_position",
    "fitted",
    "methods",
    "mixture",
    "tuned_file",
    "van_trees",
]
