"""What a model is compared with: localization without learning, and the Cramer-Rao bound.

Imports `core`, `geometry`, `signal` and `position`.
"""

__all__ = ["baselines", "cramer_rao", "direct_position", "fitted", "fixes", "methods", "time_of_arrival"]
