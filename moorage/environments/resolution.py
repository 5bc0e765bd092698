"""From an environment spec to a full list of pins, and the digests that name requests and environments."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.interpreters import Interpreter
from moorage.environments.log import BuildLog
from moorage.environments.requirement_lines import requirement_name
from moorage.environments.requirements import EnvironmentSpec
from moorage.environments.uv_process import Uv, explain, shorten

KEY_CHARACTERS = 32
_REQUEST_FORMAT = "1"  # changed when what a resolution gives for the same request changes
_SERVING_PACKAGE = "orjson"
_PRERELEASES = "--pre"
_UNREACHABLE = "Failed to fetch"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Requirement lines that pin every package, and the key of the environment that they make."""

    key: str
    pins: tuple[str, ...]


async def resolve(uv: Uv, spec: EnvironmentSpec, interpreter: Interpreter, log: BuildLog) -> Resolution:
    """Pin every package of `spec` for `interpreter`.

    The serving runtime's own package and the build dependencies come along unless they stand in the way.

    Raises:
        EnvironmentBuildError: the requirements cannot be resolved.
    """
    companions = _companions(spec)
    while True:
        lines = [*index_options(spec), *spec.requirements, *companions.values()]
        with lines_file("--constraints", spec.constraints) as constraints:
            finished = await uv.run(
                *("pip", "compile", "-", "--no-header", "--no-annotate", "--python", interpreter.path),
                *(["--only-binary", _SERVING_PACKAGE] if _SERVING_PACKAGE in companions else []),
                *(["--prerelease", "allow"] if _PRERELEASES in spec.options else []),
                *constraints,
                stdin="".join(f"{line}\n" for line in lines),
                on_line=log.line,
            )
        if finished.status == 0:
            break
        reason = explain(finished.error_lines)
        in_the_way = [name for name in companions if re.search(rf"(?<![\w.-]){name}(?![\w-])", reason)]
        if not in_the_way or _UNREACHABLE in reason:
            raise EnvironmentBuildError(shorten(f"requirements cannot be installed: {reason}"))
        for name in in_the_way:
            del companions[name]
        log.line(f"going on without {', '.join(in_the_way)}, which the model's requirements do not name")
    pins = tuple(line for line in finished.output.splitlines() if line.strip())
    if _SERVING_PACKAGE in companions:
        log.line(f"{_SERVING_PACKAGE} is added for the serving runtime")
    pins = _with_hashes(pins, spec.requirements)
    return Resolution(environment_key(spec, interpreter, pins), pins)


def _companions(spec: EnvironmentSpec) -> dict[str, str]:
    """What is installed along with the requirements when possible: the line of each package name."""
    named = {requirement_name(line) for line in spec.requirements}
    lines = [*spec.build_dependencies, _SERVING_PACKAGE]
    return {name: line for line in lines if (name := requirement_name(line)) and name not in named}


def _with_hashes(pins: Sequence[str], requirements: Sequence[str]) -> tuple[str, ...]:
    """`pins` with the hashes that the requirements give, which `uv pip compile` leaves out."""
    hashes = {requirement_name(line): re.findall(r"--hash[=\s]\S+", line) for line in requirements}
    return tuple(" ".join([pin, *hashes.get(requirement_name(pin), [])]) for pin in pins)


def index_options(spec: EnvironmentSpec) -> list[str]:
    """The option lines that `uv` takes from a requirements file: where packages come from, and in which form."""
    return [line for line in spec.options if line != _PRERELEASES]


@contextmanager
def lines_file(flag: str, lines: Sequence[str]) -> Iterator[list[str | Path]]:
    """The arguments that hand `lines` to `uv` as the file of its option `flag`; none without lines.

    The file lives for the block only: an index URL may hold a password, which neither the command line nor
    the environment's folder may show.
    """
    with tempfile.TemporaryDirectory(prefix="moorage-") as folder:
        path = Path(folder, "lines.txt")
        path.write_text("".join(f"{line}\n" for line in lines))
        yield [flag, path] if lines else []


def environment_key(spec: EnvironmentSpec, interpreter: Interpreter, pins: Sequence[str]) -> str:
    """The key of the environment with `pins`: hexadecimal, the same wherever the model's folder lies."""
    placeless = sorted(_placeless(pin, spec) for pin in pins)
    named = "\n".join(placeless)
    found_by_links = sorted(each.sha256 for each in spec.artifacts if each.sha256 not in named)
    content = [interpreter.implementation, interpreter.version, *placeless, *found_by_links]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:KEY_CHARACTERS]


def request_digest(spec: EnvironmentSpec, uv_environment: dict[str, str]) -> str:
    """A digest of everything that a resolution depends on but the index's content: hexadecimal."""
    lines = (spec.requirements, spec.constraints, spec.options, spec.build_dependencies)
    indexes = {name: value for name, value in uv_environment.items() if name.startswith("UV_")}
    content = [
        _REQUEST_FORMAT,
        spec.python,
        [[_placeless(line, spec) for line in group] for group in lines],
        sorted(artifact.sha256 for artifact in spec.artifacts),
        indexes,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:KEY_CHARACTERS]


def _placeless(line: str, spec: EnvironmentSpec) -> str:
    """`line` with the content's digest for each local path in it."""
    for artifact in sorted(spec.artifacts, key=lambda each: len(str(each.path)), reverse=True):
        for text in (str(artifact.path), artifact.path.as_uri()):
            line = line.replace(text, f"sha256:{artifact.sha256}")
    return line
