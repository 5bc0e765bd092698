"""Identifiers of persons in texts, by Presidio's patterns, checksums and context words.

No statistical model is loaded: names and places are not found, and nothing is fetched. Source: Microsoft Presidio,
supported entities.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import unicodedata
from typing import Any

import spacy
from presidio_analyzer import AnalyzerEngine, Pattern, RecognizerRegistry, RecognizerResult
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UsBankRecognizer,
    UsItinRecognizer,
    UsPassportRecognizer,
    UsSsnRecognizer,
)
from spacy.language import Language
from spacy.tokens import Doc

from moorage.guardrails.verdict import Span

ENTITIES = (
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "CREDIT_CARD",
    "US_SSN",
    "US_BANK_NUMBER",
    "US_ITIN",
    "US_PASSPORT",
    "IBAN_CODE",
    "IP_ADDRESS",
    "CRYPTO",
)
"""What is looked for; a label in a masked text is one of these in angle brackets."""

_THRESHOLD = 0.4
_SURE = 0.5  # above what a phone number has without a word like "call" in front of it
_COMPONENT = "moorage_lower_case_lemmas"

# Presidio's own pattern takes any letter into the local part, so that it swallows text of scripts without spaces,
# and its check of the domain asks the network for a list of suffixes.
_NAME = r"[\p{Latin}\p{Greek}\p{Cyrillic}\p{Nd}]"
_LOCAL = rf"(?:{_NAME}|[!#$%&'*+/=?^_`{{|}}~-])"
_EMAIL = (
    rf"(?<!{_LOCAL})(?:{_LOCAL}|(?<={_LOCAL})\.(?={_LOCAL})){{1,64}}@"
    rf"(?:{_NAME}(?:(?:{_NAME}|[-_]){{0,61}}{_NAME})?\.){{1,8}}(?:xn--[a-z0-9-]{{2,59}}|[\p{{Latin}}\p{{Greek}}\p{{Cyrillic}}]{{2,63}})"
    rf"(?!{_NAME})"
)
_VERSION = re.compile(r"(?:\b(?:v|ver|version|release|build|chapter|section|figure|clause|rev)\.?|[=~<>^])\s*$", re.I)
_BEFORE = 16
_DIGIT = re.compile(r"[^\W\D0-9]")
_HAS_CANDIDATE = re.compile(r"@|::|(?:\d\D*){4}")
# Digits and punctuation of other widths and scripts, one character for one.
_PLAIN = {
    **{0xFF01 + index: 0x21 + index for index in range(94)},
    **dict.fromkeys((0x00A0, 0x2007, 0x2009, 0x202F, 0x3000), 0x20),
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212), 0x2D),
}


class _Emails(EmailRecognizer):  # type: ignore[misc]
    def validate_result(self, pattern_text: str) -> None:
        """The pattern alone decides; addresses of internal domains count too."""


class _BlankEngine(SpacyNlpEngine):  # type: ignore[misc]
    """Tokens with their lower-case form as lemma, which is all that context words need."""

    def __init__(self) -> None:
        super().__init__()
        pipeline = spacy.blank("en")
        pipeline.max_length = 1 << 30  # for what its components might cost, of which there are none
        pipeline.add_pipe(_COMPONENT)
        self.nlp = {"en": pipeline}

    def load(self) -> None:
        """Nothing is fetched."""


@Language.component(_COMPONENT)  # type: ignore[untyped-decorator]
def _lower_case_lemmas(document: Doc) -> Doc:
    for token in document:
        token.lemma_ = token.lower_
    return document


class PiiDetector:
    """Finds identifiers in texts. Long texts are to be cut before: the time grows faster than the length."""

    def __init__(self) -> None:
        self._engine = _BlankEngine()
        emails = Pattern("e-mail address", _EMAIL, 0.9)
        recognizers: list[Any] = [
            _Emails(patterns=[emails]),
            PhoneRecognizer(context=[*PhoneRecognizer.CONTEXT, "tel", "fax", "dial", "whatsapp", "contact", "reach"]),
            CreditCardRecognizer(),
            UsSsnRecognizer(),
            UsBankRecognizer(context=["account", "acct", "bank", "debit", "checking", "routing"]),
            UsItinRecognizer(),
            UsPassportRecognizer(),
            IbanRecognizer(),
            IpRecognizer(),
            CryptoRecognizer(),
        ]
        self._analyzer = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=recognizers, supported_languages=["en"]),
            nlp_engine=self._engine,
            supported_languages=["en"],
            default_score_threshold=_THRESHOLD,
        )
        self._lock = threading.Lock()

    @staticmethod
    def worth_a_look(text: str) -> bool:
        """Whether there can be anything in it: every identifier has an `@`, four digits, or `::`."""
        return _HAS_CANDIDATE.search(text) is not None

    def spans(self, text: str) -> list[Span]:
        """What is found, in order and without overlaps."""
        text = _plain(text)
        # Without a zone the tokens of all texts would stay in the vocabulary for ever.
        with self._lock, self._engine.nlp["en"].memory_zone():
            results = self._analyzer.analyze(text, "en", entities=list(ENTITIES))
        found = [result for result in _without_overlaps(results) if _is_likely(result, text)]
        return [Span(result.start, result.end, result.entity_type) for result in found]


def _plain(text: str) -> str:
    """As many characters, with ASCII's digits, spaces and hyphens in the place of their like."""
    if text.isascii():
        return text
    text = text.translate(_PLAIN)
    return _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


def _is_likely(result: RecognizerResult, text: str) -> bool:
    """Presidio's result, but for what ordinary text has: long numbers, numbers of versions, this machine."""
    found = text[result.start : result.end]
    if result.entity_type == "PHONE_NUMBER":
        return result.score > _SURE or not found.isdigit()
    if result.entity_type == "IP_ADDRESS":
        if _VERSION.search(text[max(result.start - _BEFORE, 0) : result.start]):
            return False
        address = ipaddress.ip_interface(found.partition("%")[0]).ip
        return not (address.is_loopback or address.is_unspecified)
    return True


def _without_overlaps(results: list[RecognizerResult]) -> list[RecognizerResult]:
    """Of results that overlap the likeliest, then the longest stays. In the order of the text."""
    kept: list[RecognizerResult] = []
    for one in sorted(results, key=lambda result: (-result.score, result.start - result.end, result.start)):
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda result: result.start)
