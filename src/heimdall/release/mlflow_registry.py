"""MLflow's registry of models, which follows the one in S3: a model version a release, the alias `champion`.

It runs in a process of its own (`python -m heimdall.release.mlflow_registry`), which is ended after
`TIMEOUT_S`: an MLflow that is down is an error that says so, never a wait without end. HEIMDALL_TRACKING=off
leaves it out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heimdall.core.errors import HeimdallError
from heimdall.track import mlflow_store, own_process
from heimdall.track.mlflow_store import Store, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

NAME = "heimdall-localizer"
ALIAS = "champion"
VERSION_TAG = "heimdall_version"
FOREIGN = "is another model, with the tag"
TIMEOUT_S = 90.0  # making an SQLite store takes 7 s


@dataclass(frozen=True)
class Wanted:
    """What MLflow must hold afterwards.

    Attributes:
        version: The release.
        source: The folder of its files.
        tags: Of the model version.
        champion: Whether the alias must point at it.
    """

    version: str
    source: str
    tags: dict[str, str]
    champion: bool


def ensure(root: Path, wanted: Wanted, timeout_s: float = TIMEOUT_S) -> bool:
    """Make MLflow hold a model version, and the alias if asked for; what it holds already stays.

    Args:
        root: The repository that has the store.
        wanted: The model version.
        timeout_s: After this long MLflow counts as down.

    Returns:
        Whether MLflow was changed; false, too, where HEIMDALL_TRACKING leaves it out.

    Raises:
        HeimdallError: MLflow cannot be reached or refuses, or holds another model as this version.
    """
    return _ask(root, {"wanted": asdict(wanted)}, timeout_s) == "changed"


def require_free(root: Path, version: str, timeout_s: float = TIMEOUT_S) -> None:
    """Make sure, before a release, that MLflow answers and holds no model of its version.

    Raises:
        HeimdallError: It does hold one, which nothing would ever replace, or as for `ensure`.
    """
    _ask(root, {"free": version}, timeout_s)


def _ask(root: Path, question: dict[str, object], timeout_s: float) -> str:
    """The last word of the answer of a process of its own; "" where HEIMDALL_TRACKING leaves MLflow out."""
    if mlflow_store.is_off():
        return ""
    store = mlflow_store.resolve(root.resolve())
    try:
        mlflow_store.require_answer(store)
    except HeimdallError as error:
        raise _failure(store, error.cause) from None
    done = own_process.run(
        "heimdall.release.mlflow_registry",
        folder=store.folder,
        environment=store.environment,
        timeout_s=timeout_s,
        stdin=json.dumps({"uri": store.uri} | question),
    )
    if done.problem:
        raise _failure(store, done.problem)
    return (done.said.split() or [""])[-1]


def _failure(store: Store, cause: str) -> HeimdallError:
    remedy = (
        "Delete that version there if nobody needs it, or release the next one"
        if FOREIGN in cause
        else "Start it and run the same command again, which completes it"
    )
    cause = without_secrets(cause)
    return HeimdallError(f"MLflow {store.name}", cause, f"{remedy}; HEIMDALL_TRACKING=off leaves it out")


def apply(uri: str, wanted: Wanted) -> bool:
    """As `ensure`, in this process and without its limits. It raises what MLflow raises."""
    import mlflow  # noqa: PLC0415 - it takes 3 s, and only the process that talks to it needs it
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    client = mlflow.MlflowClient(uri)
    try:
        client.create_registered_model(NAME)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = _registered(client, wanted.version, wanted.tags)
    if not found:
        client.create_model_version(NAME, wanted.source, tags=wanted.tags | {VERSION_TAG: wanted.version})
    # Another process may have made it at the same time: MLflow numbers versions in their order, so all of
    # them keep the first.
    model, *doubles = _registered(client, wanted.version, wanted.tags)
    for double in doubles:
        try:
            client.delete_model_version(NAME, double.version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # deleted by the other one
                raise
    aliases = client.get_registered_model(NAME).aliases
    moves = wanted.champion and str(aliases.get(ALIAS)) != str(model.version)
    if moves:
        client.set_registered_model_alias(NAME, ALIAS, model.version)
    return moves or not found


def _registered(client: MlflowClient, version: str, tags: Mapping[str, str] | None) -> list[ModelVersion]:
    """The model versions with a release's name, the first that was made first.

    Raises:
        ValueError: One has other tags than `tags`, or there is one and none is wanted.
    """
    query = f"name = '{NAME}' and tags.{VERSION_TAG} = '{version}'"
    found = sorted(client.search_model_versions(query), key=lambda model: int(model.version))
    for model in found:
        if tags is None or not tags.items() <= model.tags.items():
            raise ValueError(f"version {model.version} of {NAME} {FOREIGN} {VERSION_TAG} = {version}")
    return found


def main() -> None:
    """Make MLflow hold what stands as JSON on stdin, and print whether that changed it; or only look."""
    asked = json.load(sys.stdin)
    try:
        if "free" in asked:
            from mlflow import MlflowClient  # noqa: PLC0415 - as above

            _registered(MlflowClient(asked["uri"]), asked["free"], None)
            return
        changed = apply(asked["uri"], Wanted(**asked["wanted"]))
    except Exception as error:  # its stores raise what they like; a line of it goes to the caller
        sys.exit(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    print("changed" if changed else "as it was")


if __name__ == "__main__":
    main()
