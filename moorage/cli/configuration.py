"""From command-line options to settings, and from what is wrong with them to one line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from moorage.settings import Settings


class BadConfiguration(Exception):
    """An option or a `MOORAGE_*` variable has a value that cannot be; the message is one line."""


def load_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: Path | None = None,
    gateway_workers: int | None = None,
    mlflow_uri: str | None = None,
) -> Settings:
    """The settings of the environment with the options that were given over them.

    Raises:
        BadConfiguration: see there.
    """
    options = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "gateway_workers": gateway_workers,
        "mlflow_uri": mlflow_uri,
    }
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadConfiguration(_in_words(error, given)) from error


def _in_words(error: ValidationError, given: Collection[str]) -> str:
    """Values are left out: one of them may be a secret."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        source = f"--{name.replace('_', '-')}" if name in given else f"MOORAGE_{name.upper()}"
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        problems.append(f"{source} {message}")
    return "; ".join(problems)
