"""The lines of a model's pip requirements files: requirements, constraints, options, local paths."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from moorage.environments.errors import EnvironmentSpecError

_COMMENT = re.compile(r"(^|\s+)#.*$")
_PATH = re.compile(r"^(?P<path>[^;\[]+?)(?P<rest>\s*(\[[^\]]*\])?\s*(;.*)?)$")
_ARCHIVES = (".whl", ".tar.gz", ".tar.bz2", ".tgz", ".zip")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://|^file:")
_REQUIREMENT_OPTIONS = re.compile(r"\s--?[A-Za-z].*$")


@dataclass(slots=True)
class RequirementLines:
    """What the lines of a requirements file and of the files that it includes say, in their order.

    `requirements` and `options` are lines for a requirements file again; paths in them are absolute.
    `local_paths` are the files and folders of this machine that they name.
    """

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    local_paths: list[Path] = field(default_factory=list)


def requirement_name(line: str) -> str | None:
    """The normalised name of the package that `line` asks for; None when the line does not say it."""
    try:
        return canonicalize_name(Requirement(without_options(line)).name)
    except InvalidRequirement:
        pass
    target = line.removeprefix("-e ").strip()
    if "#egg=" in target:
        return canonicalize_name(re.split(r"[&\[]", target.split("#egg=", 1)[1])[0])
    file_name = unquote(Path(urlsplit(without_options(target)).path.split(";")[0].strip()).name)
    try:
        return parse_wheel_filename(file_name)[0]
    except InvalidWheelFilename:
        repository = re.match(r"^git\+.*/([\w.-]+?)(\.git)?(@[^/]*)?$", target)
        return canonicalize_name(repository.group(1)) if repository else None


def without_options(line: str) -> str:
    """`line` without its own options, such as `--hash=sha256:...`."""
    return _REQUIREMENT_OPTIONS.sub("", line)


def read_lines(lines: Iterable[str], source: Path, model_path: Path) -> RequirementLines:
    """Sort the `lines` of the file `source`, following its `-r` and `-c` inside the model folder.

    Relative paths are taken from the model folder, those of `-r` and `-c` from the file that names them.

    Raises:
        EnvironmentSpecError: a line is no requirement, or names a file that is missing or outside the model.
    """
    result = RequirementLines()
    _collect(lines, source, model_path, result, (source,))
    return result


def _collect(
    lines: Iterable[str],
    source: Path,
    model_path: Path,
    result: RequirementLines,
    open_files: tuple[Path, ...],
) -> None:
    for line in _logical_lines(lines):
        option, value = _split_option(line)
        if option in ("-r", "--requirement", "-c", "--constraint"):
            if _URL.match(value):
                result.options.append(line)
                continue
            included = _included_file(value, source, model_path)
            if included in open_files:
                raise EnvironmentSpecError(f"{source.name}: {included.name} includes itself")
            inner = RequirementLines() if option in ("-c", "--constraint") else result
            _collect(_file_lines(included), included, model_path, inner, (*open_files, included))
            if inner is not result:
                result.constraints += [*inner.requirements, *inner.constraints]
        elif option in ("-f", "--find-links"):
            result.options.append(f"--find-links {_absolute(value, model_path, result)}")
        elif option in ("-e", "--editable"):
            result.requirements.append(f"-e {_absolute(value, model_path, result)}")
        elif option is not None:
            result.options.append(line)
        else:
            result.requirements.append(_requirement(line, source, model_path, result))


def _logical_lines(lines: Iterable[str]) -> Iterable[str]:
    """Join continued lines, drop comments and empty lines."""
    pending = ""
    for raw in lines:
        text = raw.rstrip("\r\n")
        if text.endswith("\\") and not _COMMENT.search(text):
            pending += text[:-1]
            continue
        line = _COMMENT.sub("", pending + text).strip()
        pending = ""
        if line:
            yield line
    if pending.strip():
        yield pending.strip()


def _split_option(line: str) -> tuple[str | None, str]:
    if not line.startswith("-"):
        return None, line
    match = re.match(r"^(--[A-Za-z-]+|-[A-Za-z])[\s=]*(.*)$", line)
    if match is None:
        return line, ""
    value = match.group(2).strip()
    if value[:1] in ("'", '"'):
        value = " ".join(shlex.split(value))
    return match.group(1), value


def _included_file(value: str, source: Path, model_path: Path) -> Path:
    path = (source.parent / value).resolve()
    if not path.is_relative_to(model_path.resolve()):
        raise EnvironmentSpecError(f"{source.name}: {value} is outside the model")
    if not path.is_file():
        raise EnvironmentSpecError(f"{source.name}: {value} is not in the model")
    return path


def _file_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentSpecError(f"{path.name}: cannot be read: {error}") from error


def _absolute(value: str, model_path: Path, result: RequirementLines) -> str:
    """`value` with a relative path made absolute; URLs of other machines stay as they are."""
    if _URL.match(value) and not value.startswith("file:"):
        return value
    text = unquote(urlsplit(value).path) if value.startswith("file:") else value
    path = model_path / text
    result.local_paths.append(path)
    return value if value.startswith("file:/") else str(path)


def _requirement(line: str, source: Path, model_path: Path, result: RequirementLines) -> str:
    text = without_options(line)
    if _URL.match(text):
        _absolute(text.split(";")[0].split("#")[0].strip(), model_path, result)
        return line
    match = _PATH.match(text)
    if match and _is_path(match["path"]):
        path = model_path / match["path"]
        if not path.exists():
            raise EnvironmentSpecError(f"{source.name}: {match['path']} is not in the model")
        result.local_paths.append(path)
        return f"{path}{match['rest']}{line[len(text) :]}"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentSpecError(f"{source.name}: {text!r} is no valid requirement: {reason}") from error
    if requirement.url and requirement.url.startswith("file:"):
        _absolute(requirement.url, model_path, result)
    return line


def _is_path(text: str) -> bool:
    if " @ " in text:
        return False
    return text.startswith((".", "/")) or text.endswith(_ARCHIVES) or "/" in text
