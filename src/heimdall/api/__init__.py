"""What Python code calls across rooms: TrainingPipeline, and Settings, which make a data set of a database.

`import heimdall` has these and every other name of the public API. Imports `core`, `storage`, `network`,
`pipeline` and `track`.
"""

__all__ = ["features", "settings", "training_pipeline"]
