"""The stages of dvc.yaml, a room each; the scripts in `stages/` are thin over them.

No room here imports another stage's, but `simulate`, which makes its features as `featurize` does.
"""

__all__ = ["evaluate", "export", "featurize", "simulate", "snapshot", "train"]
