"""`heimdall release`: the checked-out commit as a version."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import output


@click.command(epilog="Example: heimdall release v0.1.0")
@click.argument("version", metavar="vX.Y.Z")
@click.option(
    "--accept",
    is_flag=True,
    help="Release the model even if it is worse than the champion. This is recorded.",
)
@click.option(
    "--skip-verify", is_flag=True, help="Do not rebuild the commit before its release. This is recorded."
)
def release(version: str, accept: bool, skip_verify: bool) -> None:
    """Release the commit that is checked out, or complete its interrupted release.

    First the commit is rebuilt, as by `heimdall verify`. Then its model, parameters, metrics and card are
    written to the bucket of models, where they never change. The commit gets its git tags and its version in
    MLflow. `latest` stays as it is until `heimdall promote`.

    The release is refused if there are changes that are not committed or outputs that are not pushed, if the
    version exists already, or if the mean test error is above the champion's interval.
    """
    from heimdall.release import attestation, bucket, versions
    from heimdall.release import release as releasing
    from heimdall.storage import endpoints

    versions.check(version)
    store = bucket.ConditionalStore(endpoints.s3(), endpoints.MODELS_BUCKET)
    store.ping()
    made = releasing.release(
        Path(),
        store,
        version,
        accept=accept,
        skip_verify=skip_verify,
        say=output.progress("release"),
    )
    click.echo(
        f"{version}: commit {made.commit[:12]}, mean test error {made.mae_m:.0f} m "
        f"[{made.mae_m_low:.0f}, {made.mae_m_high:.0f}] ({made.data}), in {store.place(version)}"
    )
    click.echo(
        f"Next: {attestation.push(attestation.release_tags(version))}, then heimdall promote {version}"
    )
