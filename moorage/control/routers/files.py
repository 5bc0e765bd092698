"""The Files API, and what its clients use with it: uploads in parts, and signed addresses.

HEAD is GET without the body, so the API's description leaves it out.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from moorage.api.errors import InvalidParameterValue
from moorage.api.files import (
    SIGNED_PATH,
    AbortUploadUrl,
    CompleteUpload,
    CreateAbortUploadUrl,
    CreateUploadPartUrls,
    DirectoryContents,
    SignedUrl,
    StartedUpload,
    UploadPartUrls,
)
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.files.service import FilesService
from moorage.control.files.signing import Action, Grant
from moorage.control.files.streaming import FileAnswer, head_answer

router = APIRouter(tags=["files"])

_FILE = "/api/2.0/fs/files/{path:path}"
_DIRECTORY = "/api/2.0/fs/directories/{path:path}"
_SIGNED = f"{SIGNED_PATH}{{token}}"
_DONE = 204
_HOST = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def _service(request: Request) -> FilesService:
    return cast(FilesService, request.app.state.files)


def _base_url(request: Request) -> str:
    """Where this client reaches the server: it may know it under another name than the settings do."""
    configured: str = request.app.state.site.base_url
    base, host = urlsplit(configured), request.headers.get("host", "")
    if host == base.netloc or _HOST.fullmatch(host) is None:
        return configured
    forwarded = request.headers.get("x-forwarded-proto", "")
    if forwarded in ("http", "https"):
        scheme = forwarded
    else:
        # Reached at its own port the server speaks plain HTTP, whatever stands before it elsewhere.
        direct = host.rpartition(":")[2] == str(_service(request).urls.deps.settings.port)
        scheme = "http" if direct else base.scheme
    return base._replace(scheme=scheme, netloc=host).geturl()


def _length(request: Request) -> int | None:
    """The number of bytes that the client announces."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _granted(request: Request, *actions: Action) -> Grant:
    """What the token in the path allows. From here on the path's parameters are what it stands for.

    The audit log writes those down, and a token is no name of anything.
    """
    token = request.path_params["token"]
    request.scope["path_params"] = {}  # also where it is refused: it may be good for something else
    grant = _service(request).urls.open(token, *actions)
    request.scope["path_params"] = {"path": grant.path or grant.upload, "signed_for": grant.user}
    return grant


Files = Annotated[FilesService, Depends(_service)]
BaseUrl = Annotated[str, Depends(_base_url)]
Text = Annotated[str | None, Query(max_length=16_384)]


@router.get(_FILE, response_class=Response)
def download_file(caller: Caller, files: Files, path: str, request: Request) -> Response:
    return FileAnswer(files.open(caller, f"/{path}"), request.headers)


@router.head(_FILE, include_in_schema=False)
def file_metadata(caller: Caller, files: Files, path: str, request: Request) -> Response:
    return head_answer(files.metadata(caller, f"/{path}"), request.headers)


@router.put(_FILE, status_code=_DONE)
async def upload_file(
    caller: Caller, files: Files, path: str, request: Request, overwrite: Annotated[bool | None, Query()] = None
) -> Response:
    # Source: databricks-sdk, `FilesAPI.upload`: without the parameter an existing file is overwritten.
    replace = overwrite is not False
    await files.upload(caller, f"/{path}", request.stream(), _length(request), replace=replace)
    return Response(status_code=_DONE)


@router.delete(_FILE, status_code=_DONE)
def delete_file(caller: Caller, files: Files, path: str) -> Response:
    files.delete(caller, f"/{path}")
    return Response(status_code=_DONE)


@router.post(_FILE, response_model_exclude_none=True)
async def upload_in_parts(
    caller: Caller,
    files: Files,
    path: str,
    action: Annotated[Literal["initiate-upload", "complete-upload"], Query()],
    overwrite: Annotated[bool | None, Query()] = None,
    upload_type: Annotated[Literal["multipart"] | None, Query()] = None,
    session_token: Text = None,
    body: CompleteUpload | None = None,
) -> StartedUpload | Empty:
    if action == "initiate-upload":
        return await run_in_threadpool(files.start_upload, caller, f"/{path}", replace=overwrite is not False)
    if not session_token:
        raise InvalidParameterValue("Missing required field 'session_token'")
    await files.complete_upload(caller, f"/{path}", session_token, body or CompleteUpload())
    return Empty()


@router.post("/api/2.0/fs/create-upload-part-urls")
def create_upload_part_urls(
    caller: Caller, files: Files, base_url: BaseUrl, body: CreateUploadPartUrls
) -> UploadPartUrls:
    return files.part_urls(caller, base_url, body)


@router.post("/api/2.0/fs/create-abort-upload-url")
def create_abort_upload_url(
    caller: Caller, files: Files, base_url: BaseUrl, body: CreateAbortUploadUrl
) -> AbortUploadUrl:
    return files.abort_url(caller, base_url, body)


@router.post("/api/2.0/fs/create-download-url")
def create_download_url(
    caller: Caller,
    files: Files,
    base_url: BaseUrl,
    path: Annotated[str, Query(min_length=1, max_length=4096)],
    expire_time: Text = None,
) -> SignedUrl:
    return files.download_url(caller, base_url, path, expire_time)


@router.get(_DIRECTORY, response_model_exclude_none=True)
def list_directory(
    caller: Caller,
    files: Files,
    path: str,
    page_size: Annotated[int | None, Query(ge=1)] = None,
    page_token: Text = None,
) -> DirectoryContents:
    return files.contents(caller, f"/{path}", page_size, page_token)


@router.head(_DIRECTORY, include_in_schema=False)
def directory_metadata(caller: Caller, files: Files, path: str) -> Response:
    files.require_directory(caller, f"/{path}")
    return Response()


@router.put(_DIRECTORY, status_code=_DONE)
def create_directory(caller: Caller, files: Files, path: str) -> Response:
    files.make_directory(caller, f"/{path}")
    return Response(status_code=_DONE)


@router.delete(_DIRECTORY, status_code=_DONE)
def delete_directory(caller: Caller, files: Files, path: str) -> Response:
    files.delete_directory(caller, f"/{path}")
    return Response(status_code=_DONE)


@router.get(_SIGNED, response_class=Response)
def download_signed_file(files: Files, token: str, request: Request) -> Response:
    grant = _granted(request, Action.READ)
    return FileAnswer(files.opened_as_granted(grant), request.headers)


@router.head(_SIGNED, include_in_schema=False)
def signed_file_metadata(files: Files, token: str, request: Request) -> Response:
    grant = _granted(request, Action.READ)
    return head_answer(files.metadata_as_granted(grant), request.headers)


@router.put(_SIGNED)
async def upload_signed_file(files: Files, token: str, request: Request) -> Empty:
    grant = _granted(request, Action.WRITE)
    await files.upload_as_granted(grant, request.stream(), _length(request))
    return Empty()


@router.put(f"{SIGNED_PATH}parts/{{token}}")
async def upload_part(files: Files, token: str, request: Request, response: Response) -> Empty:
    grant = _granted(request, Action.PART)
    tag = await files.part_as_granted(grant, request.stream(), _length(request))
    response.headers["ETag"] = f'"{tag}"'
    return Empty()


@router.delete(f"{SIGNED_PATH}uploads/{{token}}")
def abort_upload(files: Files, token: str, request: Request) -> Empty:
    files.uploads.abort(_granted(request, Action.ABORT).upload)
    return Empty()
