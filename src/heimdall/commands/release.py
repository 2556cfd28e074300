"""`heimdall release`: the checked-out commit as a version."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import artifacts


@click.command(
    epilog="\b\nExample: heimdall release v0.1.0\nExample: heimdall release v0.1.0 --html v0.1.0.html"
)
@click.argument("version", metavar="vX.Y.Z")
@click.option(
    "--accept",
    is_flag=True,
    help="Release the model even if it is worse than the champion. This is recorded.",
)
@click.option(
    "--skip-verify", is_flag=True, help="Do not rebuild the commit before its release. This is recorded."
)
@click.option(
    "--give-up",
    is_flag=True,
    help="End a release that was begun and cannot be completed. Its version stays used.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Also write the page of the released run to this file, as `heimdall report` does (HTML).",
)
def release(version: str, accept: bool, skip_verify: bool, give_up: bool, html_file: Path | None) -> None:
    """Release the commit that is checked out, or complete its interrupted release.

    First the commit is rebuilt, as by `heimdall verify`. Then its model, parameters, metrics and card are
    written to the bucket of models, where they never change. The commit gets its git tags and its version in
    MLflow. `latest` stays as it is until `heimdall promote`.

    The release is refused if there are changes that are not committed or outputs that are not pushed, if the
    version exists already from another commit, or if the mean test error is above the champion's interval.
    """
    from heimdall.release import attestation, bucket, releases_text, versions
    from heimdall.release import release as releasing
    from heimdall.storage import endpoints
    from heimdall.storage.identities import Identity

    versions.check(version)
    store = bucket.ConditionalStore(endpoints.s3(identity=Identity.RELEASER), endpoints.MODELS_BUCKET)
    store.ping()
    if give_up:
        ended = releasing.give_up(Path(), store, version)
        click.echo(f"{version}: {ended.given_up_by} gave it up at {ended.given_up_at}. Use the next version.")
        return
    say = output.progress("release")
    made = releasing.release(Path(), store, version, accept=accept, skip_verify=skip_verify, say=say)
    click.echo(
        f"{version}: commit {made.commit[:12]}, mean test error {made.mae_m:.0f} m "
        f"{releases_text.interval(made)} ({made.data}), in {store.place(version)}"
    )
    if html_file is not None:
        from heimdall.report import report, run

        page = report.text(run.read(Path(), made.commit, say))
        artifacts.write_bytes(html_file, page.encode("utf-8"))
    click.echo(
        f"Next: {attestation.push(attestation.release_tags(version))}, then heimdall promote {version}"
    )
