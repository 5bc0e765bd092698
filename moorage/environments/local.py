"""Whether the server's own environment already satisfies what a model asks for."""

from __future__ import annotations

import hashlib
import platform
import sys
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from moorage.environments.log import mask_credentials
from moorage.environments.requirement_lines import without_options
from moorage.environments.requirements import EnvironmentSpec


def satisfied_by_server(spec: EnvironmentSpec) -> list[str]:
    """The reasons why the running interpreter's environment does not satisfy `spec`; empty when it does.

    Another micro version of Python is fine. A requirement by path or URL never counts as satisfied, since
    nothing says that the installed package is that one.
    """
    reasons = []
    if spec.python and spec.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        reasons.append(f"the model needs Python {spec.python}; the server runs {platform.python_version()}")
    for line in spec.requirements:
        reasons += _unsatisfied(line)
    for line in spec.constraints:
        reasons += _violated(line)
    for line in spec.options:
        if line.startswith(("-r", "-c", "--requirement", "--constraint")):
            reasons.append(f"{mask_credentials(line)} cannot be compared with what is installed")
    return reasons


def server_environment_key() -> str:
    """The key of the server's own environment: the digest of its location and of what is installed there."""
    installed = sorted(f"{dist.name}=={dist.version}" for dist in metadata.distributions())
    text = "\n".join([sys.prefix, sys.executable, platform.python_version(), *installed])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _unsatisfied(line: str) -> list[str]:
    try:
        requirement = Requirement(without_options(line))
    except InvalidRequirement:
        return [f"{mask_credentials(line)} names a path or URL"]
    return _check(requirement, frozenset(), frozenset())


def _check(requirement: Requirement, extras: frozenset[str], seen: frozenset[str]) -> list[str]:
    """The reasons against `requirement`, which the package's `extras` may ask for ("" is no extra)."""
    marker = requirement.marker
    if marker and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
        return []
    if requirement.url:
        return [f"{requirement.name} is required from a URL"]
    try:
        installed = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{requirement.name} is not installed"]
    if not requirement.specifier.contains(installed.version, prereleases=True):
        return [f"{requirement.name}{requirement.specifier} is required; {installed.version} is installed"]
    visit = f"{canonicalize_name(requirement.name)}{sorted(requirement.extras)}"
    if not requirement.extras or visit in seen:
        return []
    wanted = frozenset(requirement.extras)
    reasons = []
    for text in installed.requires or []:
        inner = Requirement(text)
        if inner.marker and "extra" in str(inner.marker):
            reasons += _check(inner, wanted, seen | {visit})
    return reasons


def _violated(line: str) -> list[str]:
    """The reason against the constraint `line`: its package is installed in another version."""
    try:
        constraint = Requirement(without_options(line))
    except InvalidRequirement:
        return [f"the constraint {mask_credentials(line)} names a path or URL"]
    if constraint.marker and not constraint.marker.evaluate({"extra": ""}):
        return []
    try:
        installed = metadata.version(constraint.name)
    except metadata.PackageNotFoundError:
        return []
    if constraint.specifier.contains(installed, prereleases=True):
        return []
    return [f"{constraint.name}{constraint.specifier} is a constraint; {installed} is installed"]
