"""Files and signed addresses of files on the wire.

Source: databricks-sdk, `service/files.py` and `mixins/files.py`; MLflow, `protos/databricks_artifacts.proto` and
`store/artifact/databricks_models_artifact_repo.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moorage.api.wire import Count, Text, WireInput, WireOutput

SIGNED_PATH = "/api/2.0/fs/signed/"
"""Requests below it need no credential."""
MOST_PARTS = 10_000
MOST_PATHS = 2000
_LONGEST_TOKEN = 16_384

FilePath = Annotated[Text, Field(min_length=1, max_length=4096)]
SessionToken = Annotated[Text, Field(min_length=1, max_length=_LONGEST_TOKEN)]
PartNumber = Annotated[Count, Field(ge=1, le=MOST_PARTS)]
Time = Annotated[Text, Field(max_length=64)]
"""RFC 3339."""


class DirectoryEntry(WireOutput):
    """`last_modified` is in milliseconds since the epoch; folders have no size."""

    path: str
    name: str
    is_directory: bool
    file_size: int | None = None
    last_modified: int | None = None


class DirectoryContents(WireOutput):
    contents: tuple[DirectoryEntry, ...] = ()
    next_page_token: str | None = None


class Header(WireOutput):
    name: str
    value: str


class MultipartSession(WireOutput):
    session_token: str


class StartedUpload(WireOutput):
    multipart_upload: MultipartSession


class UploadedPart(WireInput):
    part_number: PartNumber
    etag: Annotated[Text, Field(min_length=1, max_length=255)]


class CompleteUpload(WireInput):
    """What the parts were answered with. Their order does not matter, their numbers do."""

    parts: Annotated[tuple[UploadedPart, ...], Field(max_length=MOST_PARTS)] = ()


class CreateUploadPartUrls(WireInput):
    path: FilePath
    session_token: SessionToken
    start_part_number: PartNumber
    count: Annotated[Count, Field(ge=1, le=1000)] = 1
    expire_time: Time | None = None


class UploadPartUrl(WireOutput):
    url: str
    part_number: int
    headers: tuple[Header, ...] = ()


class UploadPartUrls(WireOutput):
    upload_part_urls: tuple[UploadPartUrl, ...]


class CreateAbortUploadUrl(WireInput):
    path: FilePath
    session_token: SessionToken
    expire_time: Time | None = None


class SignedUrl(WireOutput):
    url: str
    headers: tuple[Header, ...] = ()


class AbortUploadUrl(WireOutput):
    abort_upload_url: SignedUrl


class RegisteredFile(WireOutput):
    """`path` is relative to the files of the version; folders have no size."""

    path: str
    is_dir: bool
    file_size: int | None = None


class RegisteredFiles(WireOutput):
    files: tuple[RegisteredFile, ...] = ()


class SignedDownloadUri(WireOutput):
    signed_uri: str
    headers: tuple[Header, ...] = ()


Paths = Annotated[tuple[Annotated[Text, Field(max_length=4096)], ...], Field(min_length=1, max_length=MOST_PATHS)]
"""Relative to the artifact root of the run or logged model."""


class RunCredentialsRequest(WireInput):
    run_id: Annotated[Text, Field(min_length=1, max_length=255)]
    path: Paths


class LoggedModelCredentialsRequest(WireInput):
    paths: Paths


class ArtifactCredential(WireOutput):
    """A URL that one file is read from or written to by a plain GET or PUT."""

    run_id: str | None = None
    path: str
    signed_uri: str
    type: Literal["GCP_SIGNED_URL"] = "GCP_SIGNED_URL"
    headers: tuple[Header, ...] = ()


class RunCredentials(WireOutput):
    credential_infos: tuple[ArtifactCredential, ...]


class LoggedModelCredential(WireOutput):
    model_id: str
    credential_info: ArtifactCredential


class LoggedModelCredentials(WireOutput):
    credentials: tuple[LoggedModelCredential, ...]


class TraceCredentials(WireOutput):
    credential_info: ArtifactCredential
