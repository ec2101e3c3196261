"""How to reach an object store: endpoint, region, TLS, and credentials from the first source that has them."""

from __future__ import annotations

import configparser
import os
from urllib.parse import urlsplit

import certifi
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    IamAwsProvider,
    Provider,
    StaticProvider,
)
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from crossover.errors import StorageError
from crossover.settings import Settings

WORKERS = 8
"""Transfers at once; as many connections are kept open."""

_IDENTITY_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

TIMEOUT = Timeout(connect=5, read=60)
"""Of one attempt, in seconds."""

RETRIES = Retry(
    total=4,
    backoff_factor=0.25,
    backoff_jitter=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)
"""Of every request: refused and broken connections, timeouts, throttling and failures of the server."""


def connect(settings: Settings) -> Minio:
    """A client of the object store that the settings name, or else the usual AWS variables.

    Raises:
        StorageError: no endpoint is set, or it is not one.
    """
    host, secure = _endpoint(settings)
    region = settings.s3_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    certificates = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or certifi.where()
    pool = PoolManager(timeout=TIMEOUT, maxsize=WORKERS, retries=RETRIES, ca_certs=certificates)
    try:
        return Minio(
            host, secure=secure, region=region or None, http_client=pool, credentials=_CheckedCredentials(settings)
        )
    except ValueError as error:
        raise _no_endpoint("the object store's endpoint is not host:port") from error


def _endpoint(settings: Settings) -> tuple[str, bool]:
    """host:port, and whether to speak TLS to it."""
    if settings.s3_endpoint and "://" not in settings.s3_endpoint:
        return settings.s3_endpoint, settings.s3_secure
    url = settings.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        raise _no_endpoint("an s3:// workspace needs an object store, and none is set")
    parts = urlsplit(url)
    return parts.netloc, parts.scheme == "https"


def _no_endpoint(problem: str) -> StorageError:
    return StorageError(
        "storage.no-endpoint",
        field="CROSSOVER_S3_ENDPOINT",
        problem=problem,
        remedy="set CROSSOVER_S3_ENDPOINT to host:port, or AWS_ENDPOINT_URL_S3 to a URL",
    )


class _CheckedCredentials(Provider):
    """Credentials of the settings, else of the AWS variables and files, else of the pod's or the machine's identity.

    The errors of the sources are not shown: some of them quote a token.
    """

    def __init__(self, settings: Settings) -> None:
        access_key, secret_key = settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value()
        try:
            self._source: Provider = (
                StaticProvider(access_key, secret_key) if access_key or secret_key else _identity_of_environment()
            )
        except ValueError:
            raise _credentials_error("one of the two keys is empty") from None

    def retrieve(self) -> Credentials:
        """Credentials that have not expired."""
        try:
            return self._source.retrieve()
        except (ValueError, KeyError, OSError, HTTPError, configparser.Error):
            raise _credentials_error("no source of credentials has any") from None


def _identity_of_environment() -> Provider:
    sources: list[Provider] = [EnvAWSProvider(), AWSConfigProvider()]
    has_identity = any(os.environ.get(name) for name in _IDENTITY_VARIABLES)
    if has_identity or os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        pool = PoolManager(timeout=Timeout(connect=1, read=10), retries=Retry(total=2, backoff_factor=0.2))
        token_service = os.environ.get("AWS_ENDPOINT_URL_STS") if os.environ.get(_IDENTITY_VARIABLES[0]) else None
        sources.append(IamAwsProvider(http_client=pool, custom_endpoint=token_service))
    return ChainedProvider(sources)


def _credentials_error(problem: str) -> StorageError:
    return StorageError(
        "storage.credentials",
        field="CROSSOVER_S3_ACCESS_KEY",
        problem=problem,
        remedy="set CROSSOVER_S3_ACCESS_KEY and CROSSOVER_S3_SECRET_KEY or the AWS variables, or run with an identity "
        "that may use the bucket",
    )
