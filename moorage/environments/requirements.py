"""What environment a model asks for, read from the files that MLflow logs beside it.

The files are those of the MLflow model format: `MLmodel`, `python_env.yaml`, `conda.yaml`,
`requirements.txt`, `constraints.txt`, and wheels.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from moorage.environments.errors import EnvironmentSpecError
from moorage.environments.requirement_lines import RequirementLines, read_lines, requirement_name

__all__ = ["EnvironmentSpec", "EnvironmentSpecError", "LocalArtifact", "read_environment_spec"]

_DEFAULTS_CHANNELS = {"defaults", "pkgs/main", "pkgs/r"}
_MLFLOW_NAMES = {"mlflow", "mlflow-skinny"}
_CONDA_PACKAGE = re.compile(r"^(?:[^\s:]+::)?(?P<name>[A-Za-z0-9._-]+)\s*(?P<version>.*)$")
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class LocalArtifact:
    """A wheel, archive or folder on this machine that the requirements name; `sha256` is of its content."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """The environment that a model asks for. Paths in the lines are absolute.

    `requirements` are pip requirement lines; `options` are the other lines of a requirements file, such as
    `--extra-index-url`; `build_dependencies` (pip, setuptools, wheel) are wanted, but requirements win.
    `channels` and `conda_packages` are reported, not used. `python` None means any.
    """

    python: str | None
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    channels: tuple[str, ...]
    conda_packages: tuple[str, ...]
    model_path: Path
    mlflow_version: str | None
    options: tuple[str, ...] = ()
    build_dependencies: tuple[str, ...] = ()
    artifacts: tuple[LocalArtifact, ...] = ()

    @property
    def uses_defaults_channel(self) -> bool:
        """Whether conda.yaml lists the `defaults` channel, which has licence terms of its own."""
        return any(channel in _DEFAULTS_CHANNELS for channel in self.channels)

    @property
    def requires_mlflow(self) -> bool:
        return any(requirement_name(line) in _MLFLOW_NAMES for line in self.requirements)


@dataclass(frozen=True, slots=True)
class _CondaFile:
    python: str | None
    channels: tuple[str, ...]
    packages: tuple[str, ...]
    pip: list[str] | None


def read_environment_spec(model_path: Path) -> EnvironmentSpec:
    """Read the environment of the MLflow model in the folder `model_path`.

    `python_env.yaml` decides when there is one, then `conda.yaml`, then `requirements.txt`. Reads every wheel
    that the requirements name, for its hash.

    Raises:
        EnvironmentSpecError: a file is missing or malformed; the message names it.
    """
    model_path = model_path.absolute()
    mlmodel = _mapping(model_path / "MLmodel")
    version = mlmodel.get("mlflow_version")
    mlflow_version = version if isinstance(version, str) and version else None
    virtualenv_path, conda_path = _environment_files(mlmodel, model_path)
    requirements_path = model_path / "requirements.txt"

    conda = _read_conda(conda_path) if conda_path.is_file() else _CondaFile(None, (), (), None)
    python, source = conda.python, model_path / "MLmodel"
    build: list[str] = []
    lines: list[str] | None = None
    if virtualenv_path.is_file():
        content = _mapping(virtualenv_path)
        python = _python_of(content, virtualenv_path)
        build = _strings(content, "build_dependencies", virtualenv_path)
        source, lines = virtualenv_path, _strings(content, "dependencies", virtualenv_path)
    elif conda.pip is not None:
        source, lines = conda_path, conda.pip
    elif requirements_path.is_file():
        lines = ["-r requirements.txt"]
    found = read_lines(lines, source, model_path) if lines is not None else RequirementLines()

    requirements = list(dict.fromkeys(found.requirements))
    if not any(requirement_name(line) in _MLFLOW_NAMES for line in requirements):
        requirements.append(f"mlflow=={mlflow_version}" if mlflow_version else "mlflow")
    named = {requirement_name(line) for line in requirements}
    checked_build = read_lines(build, virtualenv_path, model_path).requirements
    return EnvironmentSpec(
        python=python,
        requirements=tuple(requirements),
        constraints=tuple(dict.fromkeys(found.constraints)),
        channels=conda.channels,
        conda_packages=conda.packages,
        model_path=model_path,
        mlflow_version=mlflow_version,
        options=tuple(dict.fromkeys(found.options)),
        build_dependencies=tuple(line for line in checked_build if requirement_name(line) not in named),
        artifacts=tuple(_artifact(path) for path in dict.fromkeys(found.local_paths) if path.exists()),
    )


def _environment_files(mlmodel: Mapping[str, object], model_path: Path) -> tuple[Path, Path]:
    """The files that `MLmodel` names for the pyfunc flavor, else their usual names: (virtualenv, conda)."""
    names = {"virtualenv": "python_env.yaml", "conda": "conda.yaml"}
    flavors = mlmodel.get("flavors")
    pyfunc = flavors.get("python_function") if isinstance(flavors, dict) else None
    environment = pyfunc.get("env") if isinstance(pyfunc, dict) else None
    if isinstance(environment, str):
        environment = {"conda": environment}
    if isinstance(environment, dict):
        names |= {kind: name for kind, name in environment.items() if isinstance(name, str) and name}
    paths = []
    for kind in ("virtualenv", "conda"):
        path = (model_path / names[kind]).resolve()
        if not path.is_relative_to(model_path.resolve()):
            raise EnvironmentSpecError(f"MLmodel: the environment file {names[kind]} is outside the model")
        paths.append(path)
    return paths[0], paths[1]


def _mapping(path: Path) -> dict[str, object]:
    """The YAML mapping in `path`, with every scalar as text: `python: 3.10` is not the number 3.1."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except FileNotFoundError:
        raise EnvironmentSpecError(f"{path.name}: the model has no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentSpecError(f"{path.name}: cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise EnvironmentSpecError(f"{path.name}: is no valid YAML: {problem}") from error
    if not isinstance(content, dict):
        raise EnvironmentSpecError(f"{path.name}: must be a YAML mapping")
    return content


def _strings(content: Mapping[str, object], name: str, path: Path) -> list[str]:
    value = content.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EnvironmentSpecError(f"{path.name}: {name} must be a list of strings")
    return value


def _python_of(content: Mapping[str, object], path: Path) -> str | None:
    version = content.get("python")
    if not version:
        return None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise EnvironmentSpecError(f"{path.name}: python must be a version such as 3.11.7, not {version!r}")
    return version


def _read_conda(path: Path) -> _CondaFile:
    content = _mapping(path)
    dependencies = content.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise EnvironmentSpecError(f"{path.name}: dependencies must be a list")
    python: str | None = None
    pip: list[str] | None = None
    packages: list[str] = []
    for dependency in dependencies:
        if isinstance(dependency, dict) and set(dependency) == {"pip"}:
            pip = [*(pip or []), *_strings(dependency, "pip", path)]
            continue
        match = _CONDA_PACKAGE.match(dependency) if isinstance(dependency, str) else None
        if match is None:
            raise EnvironmentSpecError(f"{path.name}: {dependency!r} is no conda dependency")
        if match["name"] == "python":
            python = _conda_python(match["version"])
        elif match["name"] != "pip":
            packages.append(match[0])
    return _CondaFile(python, tuple(_strings(content, "channels", path)), tuple(packages), pip)


def _conda_python(version: str) -> str | None:
    """The version of a conda `python` dependency; None for a range that the server's own Python satisfies."""
    number = _VERSION.search(version)
    if number is None:
        return None
    if re.match(r"[<>!]", version.strip()):
        try:
            if SpecifierSet(version).contains(platform.python_version()):
                return None
        except InvalidSpecifier:
            pass
    return number[0]


def _artifact(path: Path) -> LocalArtifact:
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    try:
        for file in files:
            digest.update(str(file.relative_to(path)).encode() + b"\0")
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise EnvironmentSpecError(f"{path.name}: cannot be read: {error}") from error
    return LocalArtifact(path, digest.hexdigest())
