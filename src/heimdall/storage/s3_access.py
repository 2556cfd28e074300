"""Where S3 is and with which credentials: two keys, or whatever boto3 finds (profile, role, instance).

Two keys of the environment stand for themselves: nothing of `~/.aws` is read then. Without them boto3 looks
for credentials as Amazon's own programs do (AWS_PROFILE, `~/.aws/config` with roles, single sign-on and
`credential_process`, a web identity, the role of the machine), and renews those that expire. The profile's
settings of S3 hold, too, such as `addressing_style = virtual`; without one the bucket stands in the path.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from heimdall.core import child, variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.storage.retries import REQUEST_TRIES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
MAX_THREADS = 16
FALLBACK_REGION = "us-east-1"
# The region in the name of a server of Amazon's: s3.eu-south-1.amazonaws.com, s3.dualstack.cn-north-1....cn
_AMAZON = re.compile(r"s3[.-](?:dualstack\.|fips\.)?([a-z]+(?:-[a-z]+)+-\d)\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True)
class Keys:
    """Credentials that are known from the start.

    Attributes:
        access_key: Access key.
        secret_key: Secret key.
        session_token: Of temporary credentials; None of others.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class S3Access:
    """Where S3 is, and the credentials.

    Attributes:
        endpoint_url: URL without credentials and without a slash at the end.
        keys: None where boto3 finds the credentials.
        region: Region for signatures; None for that of the profile, else `FALLBACK_REGION`.
        embedded: Whether it is the embedded server.
    """

    endpoint_url: str
    keys: Keys | None
    region: str | None
    embedded: bool

    def client(self) -> S3Client:
        """A new client, which threads may share.

        Raises:
            botocore.exceptions.BotoCoreError: The profile is missing or damaged.
        """
        # --help and many commands get by without boto3, which takes a while to import.
        import boto3.session  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        found = botocore.session.Session(session_vars=self._settings())
        if self.keys is not None:
            found.set_credentials(self.keys.access_key, self.keys.secret_key, self.keys.session_token)
        # A session of its own: boto3's shared one is not safe to use from threads.
        made = boto3.session.Session(botocore_session=found).client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region or found.get_config_variable("region") or FALLBACK_REGION,
            config=Config(
                signature_version="s3v4",
                # The server compares the content with a hash that is signed, through TLS, too.
                s3={"payload_signing_enabled": True},
                retries={"mode": "standard", "total_max_attempts": REQUEST_TRIES},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                max_pool_connections=MAX_THREADS,
                # Not every S3 server knows Amazon's newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # A proxy of the environment cannot reach this machine's loopback interface.
                proxies={} if is_loopback(urlsplit(self.endpoint_url).hostname or "") else None,
            ),
        )
        made.meta.events.register_first("needs-retry.s3", _refuse_redirection)
        return made

    def as_environment(self) -> dict[str, str]:
        """The variables by which another process finds the same S3. They may hold the credentials."""
        found = {} if self.embedded else child.leading_to(Service.S3)
        found[variables.S3_ENDPOINT_URL.name] = self.endpoint_url
        if self.region is not None:
            found |= {variables.AWS_REGION.name: self.region, variables.AWS_DEFAULT_REGION.name: self.region}
        if self.keys is not None:
            found |= {
                variables.AWS_ACCESS_KEY_ID.name: self.keys.access_key,
                variables.AWS_SECRET_ACCESS_KEY.name: self.keys.secret_key,
                # Never the token of other credentials.
                variables.AWS_SESSION_TOKEN.name: self.keys.session_token or "",
            }
        return found

    def _settings(self) -> dict[str, tuple[str | None, str | None, str | None, None]]:
        """What botocore takes from elsewhere than by itself: settings' names in its files and environment."""
        bundle = (
            variables.AWS_CA_BUNDLE.name if variables.AWS_CA_BUNDLE.read() else None
        )  # not if it is empty
        own: dict[str, tuple[str | None, str | None, str | None, None]]
        own = {"ca_bundle": ("ca_bundle", bundle, None, None)}
        if self.keys is None:
            named = next(filter(None, (profile.read() for profile in variables.AWS_PROFILES)), None)
            return own | {"profile": (None, None, named, None)}
        nothing = (None, None, os.devnull, None)
        return own | {
            "profile": (None, None, None, None),
            "region": (None, None, None, None),
            "config_file": nothing,
            "credentials_file": nothing,
        }


def configured() -> S3Access:
    """The S3 server that the environment names.

    Raises:
        HeimdallError: A variable is malformed or incomplete, or a remote server has no TLS.
    """
    variable = variables.S3_ENDPOINT_URL.name
    url = variables.S3_ENDPOINT_URL.read().rstrip("/")
    parts = split(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in url
        or any(character.isspace() for character in url)
    ):
        raise HeimdallError(
            variable,
            "not an http or https URL without credentials",
            "Set it to https://host:9000, for example",
        )
    allowed = {name.strip().lower() for name in variables.S3_WITHOUT_TLS.read().split(",")}
    if parts.scheme == "http" and not is_loopback(parts.hostname) and parts.hostname not in allowed:
        raise HeimdallError(
            variable,
            f"http:// to {parts.hostname} would send recordings and models unencrypted",
            f"Use https://, or allow it in a network that you trust: {variables.S3_WITHOUT_TLS.name}="
            f"{parts.hostname}",
        )
    bundle = variables.AWS_CA_BUNDLE.read()
    if bundle and not Path(bundle).is_file():
        where = "" if Path(bundle).is_absolute() else f" in {Path.cwd()}"
        remedy = "Correct it, or unset it and have the certificates of boto3"
        raise HeimdallError(
            f"{variables.AWS_CA_BUNDLE.name}={bundle}", f"there is no such file{where}", remedy
        )
    return S3Access(url, _configured_keys(), _configured_region(parts.hostname), embedded=False)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def split(url: str) -> SplitResult:
    """The parts of a URL; all empty where it is none, as with a bracket or a port that is no port."""
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else urlsplit("")
    except ValueError:
        return urlsplit("")


def _refuse_redirection(response: Any, operation: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
    """Let a redirection be an error: botocore itself would ask the same server for the region without end."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as above

    if response is not None and 300 < response[0].status_code < 400:
        raise ClientError(response[1], operation.name)


def _configured_keys() -> Keys | None:
    """The environment's keys; None where it has neither."""
    both = (variables.AWS_ACCESS_KEY_ID, variables.AWS_SECRET_ACCESS_KEY)
    missing = [variable.name for variable in both if not variable.read()]
    if len(missing) == 2:
        return None
    if missing:
        raise HeimdallError(
            missing[0],
            "not set, though the other of the two keys is",
            f"Set both, {both[0].name} and {both[1].name}, or neither of them and AWS_PROFILE",
        )
    return Keys(both[0].read(), both[1].read(), variables.AWS_SESSION_TOKEN.read() or None)


def _configured_region(host: str) -> str | None:
    """The environment's region, else that in the name of Amazon's server."""
    amazon = _AMAZON.fullmatch(host)
    named = variables.AWS_REGION.read() or variables.AWS_DEFAULT_REGION.read()
    return named or (amazon[1] if amazon else None)
