"""A client of the public REST API for the commands, and how they find the server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from moorage import __version__
from moorage.cli.configuration import BadConfiguration, load_settings
from moorage.cli.sse import BadStream, Event, EventReader
from moorage.control.admin_env import read_admin_env
from moorage.datadir import DataDirectory

HOST_VARIABLE = "DATABRICKS_HOST"
TOKEN_VARIABLE = "DATABRICKS_TOKEN"
ENDPOINTS = "/api/2.0/serving-endpoints"

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_SILENCE_SECONDS = 60.0
_MOST_RECONNECTIONS = 6
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 8.0
_BUSY = frozenset({429, 502, 503, 504})

Json = dict[str, Any]
Params = Mapping[str, str | int]


class ApiRefused(Exception):
    """The server answered with an error: HTTP `status`, and the `error_code` and `message` of its body."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(f"{error_code}: {message}")
        self.status = status
        self.error_code = error_code
        self.message = message

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.status in _BUSY


class Unreachable(Exception):
    """No answer of this API came; the message is one line that names the server and the reason."""


class ApiClient:
    """The API at `host`, as the owner of `token`. Paths begin with a slash.

    Every call raises `ApiRefused` for an answer of status 400 and above, and `Unreachable` when there is no
    answer, or one that this API does not give.
    """

    def __init__(
        self,
        host: str,
        token: str,
        *,
        answer_seconds: float = _ANSWER_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = host
        self._sleep = sleep
        self._answer_seconds = answer_seconds
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"moorage/{__version__}"
        # As `auth`, so that a .netrc file does not take its place.
        self._session.auth = _Bearer(token)

    def get(self, path: str, params: Params | None = None) -> Json:
        return self._call("GET", path, params=params)

    def post(self, path: str, body: Any = None, *, seconds: float | None = None) -> Json:
        """`body` is a JSON value, or bytes that are sent as they are; `seconds` how long the answer may take."""
        return self._call("POST", path, body=body, seconds=seconds)

    def put(self, path: str, body: Any) -> Json:
        return self._call("PUT", path, body=body)

    def patch(self, path: str, body: Any) -> Json:
        return self._call("PATCH", path, body=body)

    def delete(self, path: str) -> Json:
        return self._call("DELETE", path)

    def stream(self, path: str, params: Params | None = None, last_id: str = "") -> Iterator[Event]:
        """Server-sent events after the one with `last_id`, until the one named `end`, which is the last given.

        A connection that breaks once the stream has begun is made again from the last id seen; after six attempts
        in a row that brought nothing, not even a comment, the stream counts as unreachable.
        """
        reader = EventReader(last_id)
        wasted = 0
        while True:
            try:
                for event in reader.events(self._chunks(path, params, reader)):
                    yield event
                    if event.name == "end":
                        return
                problem = Unreachable(f"{self.host} closed the stream")
            except (requests.RequestException, BadStream) as error:
                problem = self._unreachable(error)
            except ApiRefused as error:
                if not (reader.begun and error.passing):
                    raise
                problem = Unreachable(f"{self.host}: {error}")
            wasted = 0 if reader.heard else wasted + 1
            if wasted >= _MOST_RECONNECTIONS or not reader.begun:
                raise problem
            reader.heard = False
            self._sleep(_pause(wasted, reader.retry_seconds))

    def _chunks(self, path: str, params: Params | None, reader: EventReader) -> Iterator[bytes]:
        headers: dict[str, str | bytes] = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if reader.last_id:
            headers["Last-Event-ID"] = reader.last_id.encode()
        with self._session.get(
            self.host + path,
            params=params,
            headers=headers,
            stream=True,
            timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
            allow_redirects=False,
        ) as answer:
            if answer.status_code != 200:
                raise self._refused(answer)
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise Unreachable(f"what answers at {self.host}{path} is no event stream")
            reader.begun = True
            # Without chunks a read of any size waits until all of it is there.
            yield from answer.iter_content(chunk_size=None if answer.raw.chunked else 1)

    def _call(
        self, method: str, path: str, *, params: Params | None = None, body: Any = None, seconds: float | None = None
    ) -> Json:
        try:
            answer = self._session.request(
                method,
                self.host + path,
                params=params,
                data=body if isinstance(body, bytes) else None,
                json=None if isinstance(body, bytes) else body,
                headers={"Content-Type": "application/json"} if isinstance(body, bytes) else None,
                timeout=(min(_CONNECT_SECONDS, self._answer_seconds), seconds or self._answer_seconds),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        if answer.status_code != 200:
            raise self._refused(answer)
        document = _document(answer)
        if document is None:
            raise Unreachable(f"what answers at {self.host} is not this API: no JSON object for {method} {path}")
        return document

    def _refused(self, answer: requests.Response) -> ApiRefused | Unreachable:
        document = _document(answer) or {}
        if "error_code" not in document and "message" not in document:
            return Unreachable(f"what answers at {self.host} is not this API: HTTP status {answer.status_code}")
        code = str(document.get("error_code") or answer.status_code)
        return ApiRefused(answer.status_code, code, str(document.get("message") or answer.reason))

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"cannot reach {self.host}: {_reason(error)}")


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def endpoint_path(name: str, *rest: str) -> str:
    """The path of an endpoint, or of something below it.

    Raises:
        BadConfiguration: a name that would lead elsewhere.
    """
    return "/".join((ENDPOINTS, *map(quoted, (name, *rest))))


def quoted(name: str) -> str:
    """A name as one segment of a path; raises as `endpoint_path` does."""
    if name in {"", ".", ".."}:
        raise BadConfiguration(f"'{name}' is no name")
    return quote(name, safe=":")


def connect(
    host: str | None = None,
    token: str | None = None,
    data_dir: Path | None = None,
    *,
    answer_seconds: float = _ANSWER_SECONDS,
) -> ApiClient:
    """A client for the server that the options name, else the environment, else a server of this machine.

    A token is only ever sent to the host that it came with: that of `admin.env` not to another one.

    Raises:
        BadConfiguration: no server is named anywhere, or a host or token cannot be one.
    """
    found_host = host or os.environ.get(HOST_VARIABLE)
    found_token = token or (os.environ.get(TOKEN_VARIABLE) if found_host else None)
    if not (found_host and found_token):
        own = _own_server(data_dir)
        if own is not None and (not found_host or _url(found_host) == _url(own[0])):
            found_host, found_token = found_host or own[0], found_token or own[1]
    if not found_host:
        raise BadConfiguration(
            f"no server: give --host and --token, or set {HOST_VARIABLE} and {TOKEN_VARIABLE}, "
            "or --data-dir of a server that has been started on this machine"
        )
    url = _url(found_host)
    if not found_token:
        raise BadConfiguration(f"no token for {url}: give --token or set {TOKEN_VARIABLE}")
    if not (found_token.isascii() and found_token.isprintable() and " " not in found_token):
        raise BadConfiguration("the token has characters that no token has")
    return ApiClient(url, found_token, answer_seconds=answer_seconds)


def _own_server(data_dir: Path | None) -> tuple[str, str] | None:
    """Host and token of the server that uses the data directory; None when none has been started there."""
    path = DataDirectory(load_settings(data_dir=data_dir).data_dir).admin_env
    try:
        variables = read_admin_env(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    host, token = variables.get(HOST_VARIABLE), variables.get(TOKEN_VARIABLE)
    return (host, token) if host and token else None


def _url(host: str) -> str:
    """As the Databricks clients read it: `https` where no scheme is given, and no slash at the end."""
    text = host.strip().rstrip("/")
    text = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise BadConfiguration("the host is not a URL; write one such as http://127.0.0.1:8080") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or not text.isprintable():
        raise BadConfiguration("the host must be an http:// or https:// URL without a user, such as http://127.0.0.1:8080")
    if parts.query or parts.fragment:
        raise BadConfiguration("the host must be a URL without '?' and '#'")
    return text


def _document(answer: requests.Response) -> Json | None:
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _pause(wasted: int, asked: float | None) -> float:
    doubled = _FIRST_WAIT_SECONDS * 2.0 ** max(0, wasted - 1)
    return min(_LONGEST_WAIT_SECONDS, max(doubled, asked or 0.0))


def _reason(error: BaseException) -> str:
    """The innermost cause in words: the libraries wrap "Connection refused" three times."""
    if isinstance(error, BadStream):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            return cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
