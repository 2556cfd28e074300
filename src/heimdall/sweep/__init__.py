"""The search for better parameters by many workers: an Optuna study whose trials are DVC experiments.

`space` says what is tried, `study` is the study in PostgreSQL, `trials` the work of one worker, `results`
what came out, as files; `experiments` watches one training.
Imports `reproduce`, `services`, `storage` and `core`.
"""

__all__ = ["experiments", "heartbeat", "results", "space", "study", "study_text", "trials"]
