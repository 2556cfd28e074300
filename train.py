"""`python train.py`, as the specification types it, is `python stages/train.py`; see there for its options.

Example:
    python train.py --epochs 5 --batch_size 8 --accelerator cpu
"""

from heimdall.core import stage
from stages.train import __getattr__, main

__all__ = ["__getattr__", "main"]  # `from train import TrainingPipeline`, too

if __name__ == "__main__":
    stage.run(main)
