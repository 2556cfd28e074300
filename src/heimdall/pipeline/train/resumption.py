"""Going on from a checkpoint that the user names: of this training without a trace, or of another."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.network.model_file import is_of_fusion
from heimdall.pipeline.train import checkpoints
from heimdall.pipeline.train.checkpoints import LAST, OURS, AtomicCheckpointIO
from heimdall.pipeline.train.lightning_module import rate_factor

RESUMED_FROM = "resumed_from_sha256"  # in the record: the checkpoint of another training


def inputs_when_resumed(inputs: dict[str, Any], path: Path) -> dict[str, Any]:
    """The inputs of a training that goes on from a checkpoint which the user named; a line says how.

    Of this very training: the checkpoint's own, which may tell what that training had started from. Of
    another one: those given now, and the checkpoint's hash.

    Args:
        inputs: All that decides the bytes of a training that starts from nothing.
        path: The checkpoint.

    Raises:
        HeimdallError: The checkpoint is missing or damaged.
    """
    theirs: dict[str, Any] = checkpoints.read(path)[OURS]["inputs"]
    record = {name: value for name, value in theirs["record"].items() if name != RESUMED_FROM}
    if checkpoints.same(theirs | {"record": record}, inputs):
        print(f"{path}: of this very training, which goes on as if undisturbed", file=sys.stderr)
        return theirs
    given, former = inputs["record"]["params"], record["params"]
    changed = [name for name in given if given[name] != former.get(name)] or ["data, code or machine"]
    why = f"of another training (other {', '.join(changed)})"
    print(f"{path}: {why}; a new one starts from it and records its hash", file=sys.stderr)
    return inputs | {"record": inputs["record"] | {RESUMED_FROM: artifacts.sha256_file(path)}}


def start_from(path: Path, work: Path, inputs: Mapping[str, Any], given: Params) -> None:
    """Make the checkpoint that the user named the last one in the work folder.

    From one of another training the optimizer's state goes on; learning rate, weight decay and patience are
    those given now.

    Args:
        path: The checkpoint.
        work: The work folder of the training that goes on.
        inputs: All that decides that training's bytes.
        given: Its parameters.

    Raises:
        HeimdallError: The checkpoint is damaged, of another model, or has as many epochs as are asked for.
    """
    state = checkpoints.read(path)
    if checkpoints.same(state[OURS]["inputs"], inputs):
        checkpoints.bring(state, path, work)
        return
    ours, done = state[OURS], checkpoints.epochs_done(state)
    network = ours["network"]
    name = "fusion" if is_of_fusion(network) else "single"
    if name != given.model.name:
        raise HeimdallError(
            str(path),
            f"its model is {name}, not {given.model.name}",
            f"Set model.name to {name} in params.yaml",
        )
    backbone = network.get("backbone_size", given.backbone)  # fusion has none
    if backbone != given.backbone:
        cause = f"its backbone is {backbone}, not {given.backbone}"
        raise HeimdallError(str(path), cause, f"Set backbone to {backbone} in params.yaml")
    if done >= given.epochs:
        cause = f"it has {done} epochs already"
        raise HeimdallError(str(path), cause, f"Ask for more: --epochs {done + 1}")
    ours |= {"first_candidate": done - 1, "best_epoch": done, "inputs": dict(inputs)}
    state["callbacks"] = checkpoints.only(state, done)
    for scheduler in state["lr_schedulers"]:
        scheduler["base_lrs"] = [given.lr] * len(scheduler["base_lrs"])
    for group in state["optimizer_states"][0]["param_groups"]:
        group["initial_lr"], group["lr"] = given.lr, given.lr * rate_factor(given, done)
        group["weight_decay"] = given.weight_decay if group["weight_decay"] else 0.0
    for name in (checkpoints.file_of(done), LAST):
        AtomicCheckpointIO().save_checkpoint(state, work / name)
