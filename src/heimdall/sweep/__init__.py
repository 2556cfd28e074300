"""The search for better parameters by many workers: an Optuna study whose trials are DVC experiments.

Imports `reproduce`, `services`, `storage` and `core`.
"""

__all__ = ["experiments", "study_report", "sweep"]
