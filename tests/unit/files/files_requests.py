"""Requests of the Files API to a control plane in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from control_harness import ANN, ControlPlane
from mlflow_in_process import mlflow_folder

from moorage.api.principal import encode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal

FILES = "/api/2.0/fs/files"
DIRECTORIES = "/api/2.0/fs/directories"
CONTENT = bytes(range(256)) * 40


def url(root: str, path: str, /, **query: Any) -> str:
    return f"{root}{quote(path)}" + (f"?{urlencode(query)}" if query else "")


def put(plane: ControlPlane, path: str, content: bytes = CONTENT, caller: Principal = ANN, **query: Any) -> Any:
    return plane.request("PUT", url(FILES, path, **query), caller, content=content)


def get(plane: ControlPlane, path: str, caller: Principal | None = ANN, **headers: str) -> Any:
    return plane.request("GET", url(FILES, path), caller, headers=headers)


def names(plane: ControlPlane, path: str, caller: Principal = ANN) -> list[str]:
    answer = plane.request("GET", url(DIRECTORIES, path), caller)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json().get("contents", ())]


def staged() -> list[Path]:
    return list((mlflow_folder() / "uploads" / "files").glob("*"))


def assert_error(answer: Any, status: int, code: str, words: str = "") -> None:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert words in answer.json()["message"]


class Sender:
    """A request straight to the application, whose body comes as this says."""

    def __init__(self, plane: ControlPlane, path: str, caller: Principal | None = ANN, **headers: str) -> None:
        self._app: Any = plane.client.app
        sent = {**headers, "host": "localhost"}
        if caller is not None:
            sent[PRINCIPAL_HEADER.lower()] = encode_principal(caller)
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }  # fmt: skip
        self.status = 0
        self.received = 0
        self.longest = 0

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.received += len(message.get("body", b""))
            self.longest = max(self.longest, len(message.get("body", b"")))

    def run(self, messages: Iterator[Any], method: str = "PUT") -> Sender:
        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await asyncio.sleep(60)
            return message

        self._scope["method"] = method
        asyncio.run(self._app(self._scope, receive, self._send))
        return self


def body(*chunks: bytes, last: bool = True) -> Iterator[Any]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False} if last else {"type": "http.disconnect"}


class InParts:
    """An upload in parts as a client makes it."""

    def __init__(self, plane: ControlPlane, path: str, caller: Principal = ANN, **query: Any) -> None:
        self.plane, self.path, self.caller = plane, path, caller
        answer = plane.request("POST", url(FILES, path, action="initiate-upload", **query), caller)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["multipart_upload"]["session_token"]

    def urls(self, first: int, number: int, /, caller: Principal | None = None, **fields: Any) -> Any:
        body = {"path": self.path, "session_token": self.token, "start_part_number": first, "count": number, **fields}
        return self.plane.request("POST", "/api/2.0/fs/create-upload-part-urls", caller or self.caller, json=body)

    def send(self, number: int, content: bytes) -> str:
        one = self.urls(number, 1).json()["upload_part_urls"][0]
        assert one["part_number"] == number
        answer = self.plane.request("PUT", path_of(one["url"]), None, content=content)
        assert answer.status_code == 200, answer.text
        tag: str = answer.headers["ETag"]
        assert tag.startswith('"')
        return tag

    def complete(self, parts: dict[int, str], caller: Principal | None = None, **query: Any) -> Any:
        query = {"action": "complete-upload", "upload_type": "multipart", "session_token": self.token, **query}
        listed = [{"part_number": number, "etag": tag} for number, tag in parts.items()]
        address = url(FILES, self.path, **query)
        return self.plane.request("POST", address, caller or self.caller, json={"parts": listed})

    def abort(self) -> Any:
        body = {"path": self.path, "session_token": self.token}
        made = self.plane.request("POST", "/api/2.0/fs/create-abort-upload-url", self.caller, json=body).json()
        return self.plane.request("DELETE", path_of(made["abort_upload_url"]["url"]), None)


def path_of(address: str) -> str:
    """The part of a URL that goes to the test's client, which reaches the server under any name."""
    parts = urlsplit(address)
    assert parts.scheme == "https"
    return parts.path


def signed(plane: ControlPlane, path: str, caller: Principal = ANN, **query: Any) -> Any:
    return plane.request("POST", url("/api/2.0/fs/create-download-url", "", path=path, **query), caller)
