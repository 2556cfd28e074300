"""Newly approved sessions against a model's claims: figures, alarms, the figure and the page that show them.

Imports `compare`, `pages`, the stages' rooms, and what they import.
"""

__all__ = ["alerts", "figure", "monitor", "page"]
