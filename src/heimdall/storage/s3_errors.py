"""What S3 refuses or breaks off, as one line: the cause, and what ends the trouble. No secret is in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage.s3_access import S3Access

ENDPOINT = variables.S3_ENDPOINT_URL.name
KEYS = f"{variables.AWS_ACCESS_KEY_ID.name} and {variables.AWS_SECRET_ACCESS_KEY.name}"
SIGN_IN = (
    "Renew the credentials (sign in again, or set all of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN anew), then run it again"
)
OF_BUCKET = ("NoSuchBucket", "404", "InvalidBucketName", "BucketAlreadyExists")
WEB_IDENTITY = ("ExpiredToken", "InvalidIdentityToken", "InvalidToken")
FOR_CREDENTIALS = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials")
DENIED = ("403", "AccessDenied", "AllAccessDisabled", "AccountProblem")
STATUSES = ("200", "400", "401", "403", "404", "500", "unknown")  # codes of answers that name none
_NOT_KNOWN = (*DENIED, "InvalidAccessKeyId", "SignatureDoesNotMatch")
ELSEWHERE = (
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
    "301",
    "302",
    "307",
    "308",
    "IllegalLocationConstraintException",
    "InvalidLocationConstraint",
    "InvalidRegion",
)
# What the operations of boto3 need, by their names: what cannot be done, and Amazon's name of the right.
RIGHTS = {
    "ListObjectsV2": ("list the bucket", "s3:ListBucket"),
    "HeadBucket": ("list the bucket", "s3:ListBucket"),
    "GetObject": ("read the object", "s3:GetObject"),
    "PutObject": ("write the object", "s3:PutObject"),
    "CreateMultipartUpload": ("write the object", "s3:PutObject"),
    "UploadPart": ("write the object", "s3:PutObject"),
    "CompleteMultipartUpload": ("write the object", "s3:PutObject"),
    "DeleteObject": ("delete the object", "s3:DeleteObject"),
    "CreateBucket": ("create the bucket", "s3:CreateBucket"),
}
# Code of the server: cause, and remedy, in which {bucket} stands for the variable with the bucket's name.
MISSING_BUCKET = (
    "the bucket is missing",
    "Run `heimdall services up`, which makes it, or correct the variable {bucket}",
)
REFUSALS = {
    "NoSuchBucket": MISSING_BUCKET,
    "404": MISSING_BUCKET,
    "ExpiredToken": ("the session token has expired", SIGN_IN),
    "TokenRefreshRequired": ("the session token has expired", SIGN_IN),
    "InvalidToken": (
        "the session token does not belong to the keys",
        "Unset AWS_SESSION_TOKEN if the keys are permanent ones; else set all three of one sign-in",
    ),
    "RequestTimeTooSkewed": (
        "the clocks of this machine and of the server differ by too much",
        "Set this machine's clock (`timedatectl set-ntp true`), or the server's, then run it again",
    ),
    "RequestExpired": (
        "the clocks of this machine and of the server differ by too much",
        "Set this machine's clock (`timedatectl set-ntp true`), or the server's, then run it again",
    ),
    "InvalidIdentityToken": (
        "the token of the web identity has expired or is not believed",
        "Let who issues it write a new one into the file of AWS_WEB_IDENTITY_TOKEN_FILE or of the profile",
    ),
    "InvalidAccessKeyId": (
        "access denied (InvalidAccessKeyId): the server does not know the access key",
        f"Correct {KEYS}, or AWS_PROFILE",
    ),
    "SignatureDoesNotMatch": (
        "access denied (SignatureDoesNotMatch): the secret key does not belong to the access key",
        f"Correct {KEYS}; behind a gateway, let it keep the header Host",
    ),
    "XMinioStorageFull": ("the server's disk is full", "Free space on the server's disk, then run it again"),
    "InsufficientStorage": (
        "the server's disk is full",
        "Free space on the server's disk, then run it again",
    ),
    "507": ("the server's disk is full", "Free space on the server's disk, then run it again"),
    "QuotaExceeded": (
        "the bucket's quota is used up",
        "Raise the quota, or delete what is not needed, then run it again",
    ),
    "SlowDown": (
        "the server asks for fewer requests",
        "Run it again later, or with a lower snapshot.download_threads; what is there is not fetched again",
    ),
    "ServiceUnavailable": (
        "the server, or one behind it, cannot answer for now",
        "Run it again later; what is there is not fetched again. If it stays, see that server's log",
    ),
    "EntityTooLarge": (
        "the object is larger than the server or a gateway before it takes",
        "Raise that limit (nginx: client_max_body_size)",
    ),
    "BadDigest": (
        "the content was changed on its way",
        f"Run it again; if it stays, set {ENDPOINT} to the server itself, without the gateway between",
    ),
    "502": ("a gateway answers, and no server behind it", "Start that server, or wait until it is up"),
    "NotImplemented": (
        "the server lacks an operation of S3 that is needed",
        f"Set {ENDPOINT} to a server that has it",
    ),
    "MethodNotAllowed": (
        "what answers there is not S3",
        f"Set {ENDPOINT} to the address of the S3 API, which is another port than that of its pages",
    ),
    "InvalidBucketName": ("no name that a bucket may have", "Correct the variable {bucket}"),
    "BucketAlreadyExists": (
        "the name belongs to somebody else's bucket",
        "Set the variable {bucket} to another name",
    ),
    "InvalidObjectState": (
        "the object is in an archive",
        "Restore it (`aws s3api restore-object`), then run it again",
    ),
}
# Kinds of errors without an answer of the server: cause and remedy.
FAILURES: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (exceptions.ProfileNotFound,),
        "there is no profile of the name in AWS_PROFILE",
        "Set AWS_PROFILE to one of `aws configure list-profiles`, or unset it",
    ),
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        "there are no credentials: no keys, no profile, no role of this machine",
        f"Set {KEYS}, or AWS_PROFILE",
    ),
    (
        (exceptions.SSOError, exceptions.TokenRetrievalError, exceptions.LoginError),
        "the profile's sign-in has expired",
        "Run `aws sso login`, then run it again",
    ),
    (
        (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError),
        "the profile's program or service gave no credentials",
        "Run the profile's credential_process by hand, and mend what it says",
    ),
    (
        (
            exceptions.ConfigParseError,
            exceptions.ConfigNotFound,
            exceptions.InvalidConfigError,
            exceptions.UnknownCredentialError,
        ),
        "the profile's settings cannot be used",
        "Correct the profile in ~/.aws/config; `aws sts get-caller-identity` tries it",
    ),
    (
        (exceptions.ParamValidationError,),
        *REFUSALS["InvalidBucketName"],
    ),
    (
        (exceptions.ProxyConnectionError,),
        "the proxy of HTTP_PROXY or HTTPS_PROXY cannot be reached",
        "Correct that variable, or add the server's host to NO_PROXY",
    ),
    ((ResponseParserError,), *REFUSALS["MethodNotAllowed"]),
)
# A token's file, or a program of the profile.
UNREADABLE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
UNUSABLE = ("NO_CERTIFICATE_OR_CRL_FOUND", "PEM lib", "[Errno 2]", "[Errno 13]", "[Errno 21]")
UNRESOLVED = ("Name or service", "getaddrinfo", "Failed to resolve", "name resolution")
Failure = BotoCoreError | HTTPError | ResponseParserError
SAME = {
    "ExpiredTokenException": "ExpiredToken",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "503": "ServiceUnavailable",
    "TooManyRequests": "SlowDown",
    "429": "SlowDown",
    "Throttling": "SlowDown",
    "RequestLimitExceeded": "SlowDown",
    "413": "EntityTooLarge",
    "XAmzContentSHA256Mismatch": "BadDigest",
    "InvalidDigest": "BadDigest",
    "501": "NotImplemented",
    "405": "MethodNotAllowed",
    "504": "502",
    "XMinioAdminBucketQuotaExceeded": "QuotaExceeded",
}


class ObjectMissing(HeimdallError):  # noqa: N818 - the name that callers know
    """The bucket is there, the object is not."""


class ObjectChanged(HeimdallError):  # noqa: N818 - as above
    """The object is there with another content than the one asked for."""


@dataclass(frozen=True)
class Place:
    """What an error is about.

    Attributes:
        access: The server.
        bucket: The bucket.
        key: The object, if it is about one.
    """

    access: S3Access
    bucket: str
    key: str | None = None

    def __str__(self) -> str:
        """As messages name it."""
        return f"S3 {self.access.endpoint_url}/{self.bucket}" + (f"/{self.key}" if self.key else "")

    @property
    def of_bucket(self) -> str:
        """The same without the object."""
        return str(Place(self.access, self.bucket))

    @property
    def variable(self) -> str:
        """The variable that names the bucket."""
        return next((one.name for one in variables.BUCKETS if one.read() == self.bucket), "of the bucket")


def code_of(error: ClientError) -> str:
    """The server's name for what is wrong; the HTTP status where the answer had no content."""
    return str(error.response.get("Error", {}).get("Code") or "unknown")


def explained(place: Place, error: ClientError | Failure) -> HeimdallError:
    """The error that a person reads."""
    if isinstance(error, ClientError):
        return _refused(place, error)
    return _failed(place, error)


def unreadable(place: Place, error: OSError) -> HeimdallError:
    """The same of one of `UNREADABLE`."""
    cause = f"what the credentials come from cannot be used ({error.filename}: {error.strerror})"
    remedy = f"Correct {variables.AWS_WEB_IDENTITY_TOKEN_FILE.name}, or the profile in ~/.aws/config"
    return HeimdallError(place.of_bucket, cause, remedy)


def _refused(place: Place, error: ClientError) -> HeimdallError:
    """What the server, or another server that gives credentials, answers."""
    code, operation = code_of(error), error.operation_name
    if (
        code in STATUSES
        and not (code == "404" and place.key is not None)
        and operation != "HeadBucket"
        and _header(error, "content-type").startswith("text/html")
    ):
        code = "MethodNotAllowed"  # a page for people
    if code == "NoSuchKey" or (place.key is not None and code == "404"):
        return ObjectMissing(str(place), "the object is missing", "Upload it again")
    if code in ELSEWHERE or (code == "400" and _region_asked(error)):
        return _elsewhere(place, error)
    if (
        code == "SignatureDoesNotMatch"
        and "Signature" in (said := _said(error))
        and ("expired" in said or "not yet current" in said)
    ):
        code = "RequestExpired"  # as the service that gives roles words it
    if operation == "AssumeRoleWithWebIdentity" and SAME.get(code, code) in WEB_IDENTITY:
        code = "InvalidIdentityToken"
    cause, remedy = REFUSALS.get(SAME.get(code, code), ("", ""))
    remedy = remedy.replace("{bucket}", place.variable)
    subject = place.of_bucket if code in OF_BUCKET else str(place)
    if operation in FOR_CREDENTIALS and not cause:
        cause = f"the role of the profile was not given ({code})"
        remedy = "Let the role trust the profile's own credentials; `aws sts get-caller-identity` tries it"
    elif code in DENIED:
        what, right = RIGHTS.get(operation, ("do this", operation))
        if of_key := re.search(r"\bkms:\w+", _said(error)):
            what, right = f"{what}, which is encrypted", of_key[0]
        cause = f"access denied ({code}): the credentials may not {what}"
        remedy = f"Give their identity the right {right} there, or use other ones ({KEYS}, or AWS_PROFILE)"
    elif not cause:
        log = ".heimdall/services/seaweedfs/weed.log" if place.access.embedded else "that server's log"
        cause, remedy = f"the server failed at {operation} ({code})", f"Run it again; if it stays, see {log}"
    if place.access.embedded and code in _NOT_KNOWN:  # it knows what it was told when it started
        remedy = (
            "Run `heimdall services up` in this shell: it tells the server this version's keys, and gives "
            "them rights to the buckets that the variables HEIMDALL_*_BUCKET name now"
        )
    return HeimdallError(
        subject, cause if code in cause or code in OF_BUCKET else f"{cause} ({code})", remedy
    )


def _elsewhere(place: Place, error: ClientError) -> HeimdallError:
    """The bucket is at another address or in another region than was asked."""
    code, address = code_of(error), error.response.get("Error", {}).get("Endpoint")
    region, other = _region_asked(error), urlsplit(_header(error, "location"))
    if other.netloc and not region:
        cause = f"it sends requests on to {other.scheme}://{other.netloc} ({code})"
        return HeimdallError(place.of_bucket, cause, f"Set {ENDPOINT}={other.scheme}://{other.netloc}")
    if region:
        cause, remedy = f"the server asks for the region {region} ({code})", f"Set AWS_REGION={region}"
    else:
        cause = f"the bucket is in another region than requests are signed for ({code})"
        remedy = "Set AWS_REGION to the region of the bucket"
    if address or code in ("PermanentRedirect", "301"):
        named = f"https://s3.{region}.amazonaws.com" if region else "the address of the bucket's region"
        remedy += f", and {ENDPOINT} to {named}"
    return HeimdallError(place.of_bucket, cause, remedy)


def _region_asked(error: ClientError) -> str:
    """The region that an answer names; empty if none."""
    return str(error.response.get("Error", {}).get("Region") or _header(error, "x-amz-bucket-region"))


def _said(error: ClientError) -> str:
    """The sentence of an answer; empty if it has none."""
    return str(error.response.get("Error", {}).get("Message") or "")


def _header(error: ClientError, name: str) -> str:
    """A header of an answer; empty where it has none."""
    return str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(name, ""))


def _failed(place: Place, error: Failure) -> HeimdallError:
    """No answer that could be understood: credentials, TLS, names, connections."""
    inner = getattr(error, "kwargs", {}).get("error", "")
    text = " ".join(f"{error} {inner}".split())
    if isinstance(error, exceptions.SSLError):
        return _without_trust(place.of_bucket, text)
    for kinds, cause, remedy in FAILURES:
        if isinstance(error, kinds):
            return HeimdallError(place.of_bucket, cause, remedy.replace("{bucket}", place.variable))
    if any(words in text for words in UNRESOLVED):
        remedy = f"Correct {ENDPOINT}, or this machine's name server"
        return HeimdallError(place.of_bucket, "its name has no address", remedy)
    short = "Connection refused" if "refused" in text else type(error).__name__
    remedy = f"Start it, or correct {ENDPOINT}; `heimdall services status` tries it again"
    if place.access.embedded:
        remedy = "Run `heimdall services up`, which starts it"
    return HeimdallError(place.of_bucket, f"it cannot be reached or broke off ({short})", remedy)


def _without_trust(where: str, text: str) -> HeimdallError:
    """TLS does not come about."""
    if any(words in text for words in UNUSABLE):
        cause = "the file of certificates cannot be used: it is not there, or has none"
        remedy = "Let AWS_CA_BUNDLE, or ca_bundle of the profile, name a PEM file, or unset it"
        return HeimdallError(where, cause, remedy)
    if "CERTIFICATE_VERIFY_FAILED" in text and "expired" in text:
        return HeimdallError(where, "its certificate has expired", "Renew the server's certificate")
    if any(words in text for words in ("doesn't match", "mismatch", "not valid for")):
        remedy = f"Set {ENDPOINT} to the name in the certificate"
        return HeimdallError(where, "its certificate is for another name", remedy)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return HeimdallError(
            where,
            "its certificate is signed by nobody whom this machine trusts",
            "Set AWS_CA_BUNDLE to a PEM file with the certificate of who signed it",
        )
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text or "RECORD_LAYER" in text:
        return HeimdallError(where, "it does not speak TLS there", f"Correct {ENDPOINT}: port, or http://")
    return HeimdallError(where, "TLS to it does not come about", "Try `openssl s_client -connect HOST:PORT`")
