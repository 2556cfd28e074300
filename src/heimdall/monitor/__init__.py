"""Newly approved sessions against a model's claims: figures, alarms, the figure that shows them.

Imports `compare`, the stages' rooms, and what they import.
"""

__all__ = ["alerts", "figure", "monitor"]
