"""Running `uv` and other build commands: their environment, output line by line, errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uv

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.log import mask_credentials
from moorage.settings import Settings, scrubbed_environment

MAX_REASON_CHARACTERS = 2000
_KEPT_ERROR_LINES = 200
_CHUNK_BYTES = 64 * 1024
_KILLED_SECONDS = 5  # a process that left the group may hold the pipes open

# A server's own choice of interpreter must not decide a model's; publishing is nothing that a build does.
_DROPPED = {"UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT"}
_DROPPED_PREFIX = "UV_PUBLISH_"
_FOLDERS = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
_TREE = re.compile(r"^[\s×╰├│─▶]+")
_NOT_FOUND = re.compile(
    r"Because (?P<name>\S+) was not found in the package registry and you require (?P<line>\S+?),?"
    r" we can conclude that your requirements are unsatisfiable\.?"
)
_CONCLUSION = re.compile(r",? we can conclude that your requirements are unsatisfiable\.?")
_PREFIX = re.compile(r"^(error|cause|Caused by):\s*", re.IGNORECASE)
_NO_SOLUTION = re.compile(r"No solution found when resolving dependencies[:;]?\s*")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: exit status, standard output, and the last lines of standard error."""

    status: int
    output: str
    error_lines: tuple[str, ...]


class Uv:
    """The `uv` binary, run with what the server's user and the settings tell it about package indexes."""

    def __init__(self, settings: Settings) -> None:
        self.environment = uv_environment(settings)
        self._binary = uv.find_uv_bin()

    async def run(
        self,
        *arguments: str | Path,
        stdin: str | None = None,
        on_line: Callable[[str], None] | None = None,
        search_path: str | None = None,
    ) -> Finished:
        """Run `uv` with `arguments`; `on_line` gets each line of its standard error as it is written.

        `search_path` takes the place of `PATH` where `uv` is to look for interpreters.

        No project's configuration applies, in whatever folder the server was started.
        """
        command = [self._binary, *arguments, "--project", "/"]
        environment = self.environment if search_path is None else self.environment | {"PATH": search_path}
        return await run_command(command, environment, stdin=stdin, on_line=on_line)


def uv_environment(settings: Settings) -> dict[str, str]:
    """The environment variables for `uv`: the scrubbed ones, what concerns `uv` and the network, the indexes.

    Indexes of the settings come before those of the server's own `UV_*` variables.
    """
    environment = scrubbed_environment()
    for name, value in os.environ.items():
        about_uv = name.startswith("UV_") and name not in _DROPPED and not name.startswith(_DROPPED_PREFIX)
        if about_uv or name.startswith("SSL_CERT_") or name.upper().endswith("_PROXY") or name in _FOLDERS:
            environment[name] = value
    if settings.env_index_url is not None:
        environment["UV_DEFAULT_INDEX"] = settings.env_index_url.get_secret_value()
        environment.pop("UV_INDEX_URL", None)
    extra = [url.get_secret_value() for url in settings.env_extra_index_urls]
    _put_first(environment, "UV_INDEX", extra, separator=" ")
    _put_first(environment, "UV_FIND_LINKS", list(settings.env_find_links), separator=",")
    return environment | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


def _put_first(environment: dict[str, str], name: str, values: list[str], separator: str) -> None:
    joined = separator.join(filter(None, [*values, environment.get(name, "")]))
    if joined:
        environment[name] = joined


async def run_command(
    command: list[str | Path],
    environment: dict[str, str],
    *,
    stdin: str | None = None,
    on_line: Callable[[str], None] | None = None,
    directory: Path | None = None,
) -> Finished:
    """Run `command` in a process group of its own; the group is killed when the caller is cancelled.

    Raises:
        EnvironmentBuildError: the command cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvironmentBuildError(f"{command[0]} cannot be started: {error.strerror}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    last_lines: deque[str] = deque(maxlen=_KEPT_ERROR_LINES)
    try:
        output, _, _ = await asyncio.gather(
            process.stdout.read(),
            _read_lines(process.stderr, last_lines, on_line),
            _feed(process.stdin, stdin),
        )
        status = await process.wait()
    except BaseException:
        # The command itself may have ended while what it started still writes: the group is what counts.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _KILLED_SECONDS)
        raise
    return Finished(status, output.decode(errors="replace"), tuple(last_lines))


async def _feed(stream: asyncio.StreamWriter | None, text: str | None) -> None:
    if stream is None or text is None:
        return
    with contextlib.suppress(ConnectionError):
        stream.write(text.encode())
        await stream.drain()
    stream.close()


async def _read_lines(
    stream: asyncio.StreamReader, last_lines: deque[str], on_line: Callable[[str], None] | None
) -> None:
    """Lines of any length: a build backend may write one longer than a `StreamReader` takes."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _CHUNK_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _take(line, last_lines, on_line)
    if rest:
        _take(rest, last_lines, on_line)


def _take(line: bytes, last_lines: deque[str], on_line: Callable[[str], None] | None) -> None:
    text = line.decode(errors="replace").rstrip()
    last_lines.append(text)
    if on_line is not None:
        on_line(text)


def explain(error_lines: tuple[str, ...]) -> str:
    """What `uv` says went wrong, without its decoration, in at most `MAX_REASON_CHARACTERS` characters."""
    lines = list(error_lines)
    starts = [i for i, line in enumerate(lines) if line.startswith("error:") or line.lstrip().startswith("×")]
    if starts:
        lines = lines[starts[0] :]
    text = ""
    for line in lines:
        words = _TREE.sub("", line)
        starts_a_cause = _PREFIX.match(words) or line.lstrip().startswith(("╰", "├"))
        separator = "; " if starts_a_cause and text and text[-1] not in ".,:;" else " "
        text += separator + _PREFIX.sub("", words).strip()
    text = " ".join(text.split())
    text = _NO_SOLUTION.sub("", text)
    text = _NOT_FOUND.sub(lambda match: f"{match['line']} was not found in the package index", text)
    return shorten(_CONCLUSION.sub("", text) or "uv gave no reason")


def shorten(text: str, limit: int = MAX_REASON_CHARACTERS) -> str:
    """`text` with credentials masked and its middle left out when it has more than `limit` characters."""
    text = mask_credentials(text).strip()
    if len(text) <= limit:
        return text
    head = limit // 3
    return f"{text[:head]} ... {text[-(limit - head - 5) :]}"
