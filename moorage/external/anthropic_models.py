"""What Anthropic's models differ in, told from the version in their names.

A name without a version (an alias, a proxy's own name) counts as the newest. What a model refuses is left to
Anthropic to refuse, with its own words; here is only what decides between two ways of asking for the same thing.
Source: Anthropic documentation, model overview, thinking, structured outputs.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# `claude-3-5-sonnet-20241022`, `claude-sonnet-4-20250514`, `claude-opus-4-1-20250805`, `claude-2.1`;
# on other platforms also `claude-v2:1`
_NAME = re.compile(r"claude-(?:[a-z]+-)?v?(?P<major>\d+)(?:[-.:](?P<minor>\d{1,2}))?(?!\d)")


class Version(NamedTuple):
    major: int
    minor: int

    @property
    def thinks_within_budget(self) -> bool:
        """Whether thinking is asked for with a number of tokens; newer models take an effort."""
        return self < (4, 6)

    @property
    def formats_output(self) -> bool:
        """Whether it takes a JSON schema for its answer; older models are given a tool to answer with."""
        return self >= (4, 5)

    @property
    def default_max_tokens(self) -> int:
        """What goes for the limit that Anthropic demands and OpenAI does not.

        No more than the model takes, and from there on what it writes within ten minutes, after which idle
        connections are cut. Newer models' thinking counts too.
        """
        if self < (3, 5):
            return 4096
        return 8192 if self < (3, 7) else 16384


_NEWEST = Version(99, 0)


def version_of(model: str) -> Version:
    match = _NAME.search(model)
    return Version(int(match["major"]), int(match["minor"] or 0)) if match else _NEWEST
