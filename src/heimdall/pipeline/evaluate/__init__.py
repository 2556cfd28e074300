"""Stage evaluate: model, baselines and bound on val and test -> metrics/eval*.json, plots/.

Imports `network`, `baselines`, `metrics`, and what they import.
"""

__all__ = ["cases", "evaluation", "figures", "localizers", "pieces", "plots", "predictors", "table"]
