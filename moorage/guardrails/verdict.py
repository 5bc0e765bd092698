"""What was found in texts, and the documents that say so to clients.

Source: Databricks documentation, AI Gateway, guardrails (form of the answer); categories of Llama Guard 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from moorage.api.errors import BadRequest, TemporarilyUnavailable

CATEGORIES = (
    "violent-crimes",
    "non-violent-crimes",
    "sex-crimes",
    "child-exploitation",
    "specialized-advice",
    "privacy",
    "intellectual-property",
    "indiscriminate-weapons",
    "hate",
    "self-harm",
    "sexual-content",
)
"""The categories of unsafe content, all of which each guardrail document names."""

# What else a text may be refused for; a document names these only where they apply.
JAILBREAK = "jailbreak"
INVALID_KEYWORDS = "invalid-keywords"
OFF_TOPIC = "off-topic"

_SCORE_DIGITS = 4


class Direction(StrEnum):
    INPUT = "input"
    OUTPUT = "output"


class GuardrailTriggered(BadRequest):
    """A text was refused. The message is `document` as JSON."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        self.document = document


class GuardrailsUnavailable(TemporarilyUnavailable):
    """Texts could not be checked, so that nothing of them may pass."""


class TextTooLong(BadRequest):
    """There is more text than guardrails check."""


@dataclass(frozen=True, slots=True)
class Span:
    """An identifier of a person, from character `start` to before `end`. `label` is its kind: `EMAIL_ADDRESS`."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in one text.

    `scores` are those of categories of unsafe content, 0 to 1; empty where that was not looked for. `reasons` are the
    categories, and the others of this module, for which the text is refused.
    """

    spans: tuple[Span, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


class Safety(NamedTuple):
    """How unsafe a text is: its score in each category, 0 to 1, and the categories for which it is refused."""

    scores: Mapping[str, float]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the guardrail document gives them."""

    prompt_tokens: int = 0
    total_tokens: int = 0


def mask(text: str, spans: Sequence[Span]) -> str:
    """`text` with `<LABEL>` in the place of each span. Spans are in order and do not overlap."""
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += (text[done : span.start], f"<{span.label}>")
        done = span.end
    return "".join(parts) + text[done:]


@dataclass(frozen=True, slots=True)
class Verdict:
    """On several texts at once, with a finding for each. `groups` says which of them belong together.

    The texts of a group share an element of the guardrail document: the messages of a chat are one group, and so
    is each prompt of a batch and each choice of an answer. `blocks_pii`: identifiers of persons are refused.
    """

    direction: Direction
    texts: tuple[str, ...]
    groups: tuple[int, ...]
    findings: tuple[Finding, ...]
    blocks_pii: bool = False

    @property
    def refused(self) -> bool:
        """Whether the request, or the answer, must not pass."""
        return any(finding.reasons or (self.blocks_pii and finding.spans) for finding in self.findings)

    @property
    def pii_detected(self) -> bool:
        return any(finding.spans for finding in self.findings)

    @property
    def masked(self) -> list[str]:
        """All texts, with labels in the place of what was found."""
        return [mask(text, finding.spans) for text, finding in zip(self.texts, self.findings, strict=True)]

    def annotation(self) -> dict[str, Any]:
        """What an answer gains when identifiers were masked: `{"output_guardrail": [{"pii_detection": true}]}`."""
        return {f"{self.direction}_guardrail": [{"pii_detection": True}]}

    def document(self, usage: Usage) -> dict[str, Any]:
        """The guardrail document: what was found in each group of texts."""
        elements = [self._element(group) for group in range(max(self.groups, default=0) + 1)]
        return {
            "usage": {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens},
            f"{self.direction}_guardrail": elements,
            "finishReason": f"{self.direction}_guardrail_triggered",
        }

    def triggered(self, usage: Usage) -> GuardrailTriggered:
        """The error with which the texts are refused."""
        return GuardrailTriggered(self.document(usage))

    def _element(self, group: int) -> dict[str, Any]:
        of_group = [
            (text, finding)
            for text, own, finding in zip(self.texts, self.groups, self.findings, strict=True)
            if own == group
        ]
        reasons = {reason for _, finding in of_group for reason in finding.reasons}
        detected = any(finding.spans for _, finding in of_group)
        shown = (*CATEGORIES, *sorted(reasons - set(CATEGORIES)))
        scores = {name: max((one.scores.get(name, 0.0) for _, one in of_group), default=0.0) for name in shown}
        return {
            "flagged": bool(reasons) or (self.blocks_pii and detected),
            "categories": {name: name in reasons for name in shown},
            "category_scores": {name: round(score, _SCORE_DIGITS) for name, score in scores.items()},
            "pii_detection": detected,
            "anonymized_input": [mask(text, finding.spans) for text, finding in of_group if finding.spans],
        }
