"""Signed addresses of files as MLflow's client for Databricks asks for them."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from moorage.api.files import (
    LoggedModelCredentials,
    LoggedModelCredentialsRequest,
    RegisteredFiles,
    RunCredentials,
    RunCredentialsRequest,
    SignedDownloadUri,
    TraceCredentials,
)
from moorage.control.dependencies import Caller
from moorage.control.files.credentials import ArtifactCredentials
from moorage.control.files.places import Version
from moorage.control.routers.files import BaseUrl, Files

router = APIRouter(prefix="/api/2.0/mlflow", tags=["artifacts"])


def _service(request: Request) -> ArtifactCredentials:
    return cast(ArtifactCredentials, request.app.state.artifact_credentials)


Credentials = Annotated[ArtifactCredentials, Depends(_service)]
Word = Annotated[str, Query(min_length=1, max_length=1024)]
Path = Annotated[str, Query(max_length=4096)]


@router.get("/model-versions/list-artifacts", response_model_exclude_none=True)
def list_registered_files(
    caller: Caller, files: Files, name: Word, version: Word, path: Path = ""
) -> RegisteredFiles:
    return files.registered_files(caller, Version(name, version), path)


@router.get("/model-versions/get-signed-download-uri")
def registered_file_url(
    caller: Caller, files: Files, base_url: BaseUrl, name: Word, version: Word, path: Path = ""
) -> SignedDownloadUri:
    return files.registered_file_url(caller, base_url, Version(name, version), path)


@router.post("/artifacts/credentials-for-read", response_model_exclude_none=True)
def credentials_for_read(
    caller: Caller, credentials: Credentials, base_url: BaseUrl, body: RunCredentialsRequest
) -> RunCredentials:
    return credentials.of_run(caller, base_url, body, write=False)


@router.post("/artifacts/credentials-for-write", response_model_exclude_none=True)
def credentials_for_write(
    caller: Caller, credentials: Credentials, base_url: BaseUrl, body: RunCredentialsRequest
) -> RunCredentials:
    return credentials.of_run(caller, base_url, body, write=True)


@router.post("/logged-models/{model_id}/artifacts/credentials-for-download", response_model_exclude_none=True)
def credentials_for_download(
    caller: Caller,
    credentials: Credentials,
    base_url: BaseUrl,
    model_id: str,
    body: LoggedModelCredentialsRequest,
) -> LoggedModelCredentials:
    return credentials.of_logged_model(caller, base_url, model_id, body, write=False)


@router.post("/logged-models/{model_id}/artifacts/credentials-for-upload", response_model_exclude_none=True)
def credentials_for_upload(
    caller: Caller,
    credentials: Credentials,
    base_url: BaseUrl,
    model_id: str,
    body: LoggedModelCredentialsRequest,
) -> LoggedModelCredentials:
    return credentials.of_logged_model(caller, base_url, model_id, body, write=True)


@router.get("/traces/{request_id}/credentials-for-data-download", response_model_exclude_none=True)
def credentials_for_trace_download(
    caller: Caller, credentials: Credentials, base_url: BaseUrl, request_id: str, path: Path = ""
) -> TraceCredentials:
    return credentials.of_trace(caller, base_url, request_id, path, write=False)


@router.get("/traces/{request_id}/credentials-for-data-upload", response_model_exclude_none=True)
def credentials_for_trace_upload(
    caller: Caller, credentials: Credentials, base_url: BaseUrl, request_id: str, path: Path = ""
) -> TraceCredentials:
    return credentials.of_trace(caller, base_url, request_id, path, write=True)
