"""The two ways in which a model's environment cannot be had."""

from __future__ import annotations


class EnvironmentSpecError(Exception):
    """The model's environment files cannot be read; the message names the file and the problem."""


class EnvironmentBuildError(Exception):
    """An environment cannot be built; `str()` is the reason in words, at most 2,000 characters."""
