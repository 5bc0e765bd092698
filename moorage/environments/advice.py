"""What in a model's environment files works today and may not tomorrow, or is not what its author expects."""

from __future__ import annotations

from packaging.requirements import InvalidRequirement, Requirement

from moorage.environments.log import mask_credentials
from moorage.environments.requirement_lines import requirement_name, without_options
from moorage.environments.requirements import EnvironmentSpec

_MOST_NAMED = 10


def warnings_about(spec: EnvironmentSpec) -> list[str]:
    """One sentence for each kind of trouble; none when every version is pinned and every package installed."""
    warnings = []
    pinned = {requirement_name(line) for line in spec.constraints if is_pinned(line)}
    loose = [line for line in spec.requirements if not is_pinned(line) and requirement_name(line) not in pinned]
    if loose:
        warnings.append(f"Not pinned to one version, so that a later build may differ: {_named(loose)}.")
    if spec.conda_packages:
        warnings.append(f"conda.yaml names packages that are not installed here: {_named(spec.conda_packages)}.")
    if spec.python is None:
        warnings.append("The model names no Python version; the server's own is used.")
    return warnings


def is_pinned(line: str) -> bool:
    """Whether a requirement line asks for exactly one version. A path or URL does: it names one file."""
    try:
        requirement = Requirement(without_options(line))
    except InvalidRequirement:
        return True
    exact = any(
        specifier.operator == "===" or (specifier.operator == "==" and not specifier.version.endswith(".*"))
        for specifier in requirement.specifier
    )
    return exact or requirement.url is not None


def _named(lines: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(mask_credentials(line) for line in lines[:_MOST_NAMED])
    left = len(lines) - _MOST_NAMED
    return f"{shown} and {left} more" if left > 0 else shown
