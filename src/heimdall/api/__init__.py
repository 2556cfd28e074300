"""What Python code calls across rooms: TrainingPipeline, and Settings, which make a data set of a database.

Its endpoints pass both services on to other programs. `import heimdall` has these and every other name
of the public API. Imports `core`, `storage`, `network`, `pipeline` and `track`.
"""

__all__ = ["endpoints", "features", "settings", "training_pipeline"]
