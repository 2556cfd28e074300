"""MLflow's registry of models, which follows the one in S3: a model version a release, the alias `champion`.

It runs in a process of its own (`python -m heimdall.release.mlflow_registry`), which is ended after
`TIMEOUT_S`: an MLflow that is down is an error that says so, never a wait without end. HEIMDALL_TRACKING=off
leaves it out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.track import mlflow_store, own_process
from heimdall.track.mlflow_store import Store, without_secrets

NAME = "heimdall-localizer"
ALIAS = "champion"
VERSION_TAG = "heimdall_version"
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
    if mlflow_store.is_off():
        return False
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
        stdin=json.dumps({"uri": store.uri, "wanted": asdict(wanted)}),
    )
    if done.problem:
        raise _failure(store, done.problem)
    return done.said.split()[-1:] == ["changed"]


def _failure(store: Store, cause: str) -> HeimdallError:
    remedy = (
        "Start it and run the same command again, which completes it; HEIMDALL_TRACKING=off leaves it out"
    )
    return HeimdallError(f"MLflow {store.name}", without_secrets(cause), remedy)


def apply(uri: str, wanted: Wanted) -> bool:
    """As `ensure`, in this process and without its limits. It raises what MLflow raises."""
    import mlflow  # noqa: PLC0415 - it takes 3 s, and only the process that talks to it needs it
    from mlflow.entities.model_registry import ModelVersion  # noqa: PLC0415 - as above
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    client = mlflow.MlflowClient(uri)
    try:
        client.create_registered_model(NAME)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = wanted.tags | {VERSION_TAG: wanted.version}

    def registered() -> list[ModelVersion]:
        """The versions of this name with this tag, the first that was made first."""
        query = f"name = '{NAME}' and tags.{VERSION_TAG} = '{wanted.version}'"
        found = sorted(client.search_model_versions(query), key=lambda model: int(model.version))
        for model in found:
            if {name: model.tags.get(name) for name in tags} != tags:
                raise ValueError(f"version {model.version} of {NAME} is not this {wanted.version}")
        return found

    found = registered()
    if not found:
        client.create_model_version(NAME, wanted.source, tags=tags)
    # Another process may have made it at the same time: MLflow numbers versions in their order, so all of
    # them keep the first.
    model, *doubles = registered()
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


def main() -> None:
    """Make MLflow hold what stands as JSON on stdin, and print whether that changed it."""
    asked = json.load(sys.stdin)
    try:
        changed = apply(asked["uri"], Wanted(**asked["wanted"]))
    except Exception as error:  # its stores raise what they like; a line of it goes to the caller
        sys.exit(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    print("changed" if changed else "as it was")


if __name__ == "__main__":
    main()
