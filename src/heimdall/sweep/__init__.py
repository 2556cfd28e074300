"""The search for better parameters by many workers: an Optuna study whose trials are DVC experiments.

Imports `reproduce`, `services`, `storage` and `core`.
"""

__all__ = ["experiments", "heartbeat", "study_report", "study_text", "sweep"]
