"""The guardrail document, field for field, and the frames that findings travel in."""

from __future__ import annotations

import json

import pytest

from moorage.guardrails import frames
from moorage.guardrails.verdict import CATEGORIES, Direction, Finding, Span, Usage, Verdict, mask

NONE = dict.fromkeys(CATEGORIES, False)
ZERO = dict.fromkeys(CATEGORIES, 0.0)


def verdict(*findings: Finding, direction: Direction = Direction.INPUT, blocks: bool = False) -> Verdict:
    texts = ("jo@x.de asks", "fine")[: len(findings)]
    return Verdict(direction, texts, tuple(range(len(findings))), findings, blocks)


FOUND = Finding(spans=(Span(0, 7, "EMAIL_ADDRESS"),))


def test_the_categories_are_those_of_the_api() -> None:
    assert CATEGORIES == (
        "violent-crimes", "non-violent-crimes", "sex-crimes", "child-exploitation", "specialized-advice", "privacy",
        "intellectual-property", "indiscriminate-weapons", "hate", "self-harm", "sexual-content",
    )  # fmt: skip


def test_the_document_of_unsafe_input() -> None:
    unsafe = Finding(scores={"hate": 0.61234567, "privacy": 0.2}, reasons=("hate",))
    error = verdict(unsafe).triggered(Usage(3, 3))
    assert (error.status, error.error_code) == (400, "BAD_REQUEST")
    assert error.body() == {"error_code": "BAD_REQUEST", "message": error.message}
    assert json.loads(error.message) == {
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "input_guardrail": [
            {
                "flagged": True,
                "categories": {**NONE, "hate": True},
                "category_scores": {**ZERO, "hate": 0.6123, "privacy": 0.2},
                "pii_detection": False,
                "anonymized_input": [],
            }
        ],
        "finishReason": "input_guardrail_triggered",
    }


def test_the_document_of_blocked_identifiers_in_output() -> None:
    document = verdict(FOUND, Finding(), direction=Direction.OUTPUT, blocks=True).document(Usage(5, 9))
    clean = {"flagged": False, "categories": NONE, "category_scores": ZERO, "pii_detection": False}
    assert document == {
        "usage": {"prompt_tokens": 5, "total_tokens": 9},
        "output_guardrail": [
            {**clean, "flagged": True, "pii_detection": True, "anonymized_input": ["<EMAIL_ADDRESS> asks"]},
            {**clean, "anonymized_input": []},
        ],
        "finishReason": "output_guardrail_triggered",
    }


def test_what_the_api_has_no_category_for_is_named_only_where_it_applies() -> None:
    jailbreak = Finding(scores={"jailbreak": 0.7}, reasons=("jailbreak",))
    (element,) = verdict(jailbreak).document(Usage())["input_guardrail"]
    assert element["categories"] == {**NONE, "jailbreak": True}
    assert element["category_scores"] == {**ZERO, "jailbreak": 0.7}


def test_texts_of_a_group_share_an_element() -> None:
    both = Verdict(Direction.INPUT, ("a", "b"), (0, 0), (Finding(reasons=("hate",)), Finding(reasons=("privacy",))))
    (element,) = both.document(Usage())["input_guardrail"]
    assert [name for name, applies in element["categories"].items() if applies] == ["privacy", "hate"]


@pytest.mark.parametrize(
    ("findings", "blocks", "refused", "detected"),
    [
        ((Finding(),), False, False, False),
        ((Finding(), Finding(reasons=("off-topic",))), False, True, False),
        ((FOUND,), False, False, True),
        ((FOUND,), True, True, True),
    ],
)
def test_what_is_refused(findings: tuple[Finding, ...], blocks: bool, refused: bool, detected: bool) -> None:
    one = verdict(*findings, blocks=blocks)
    assert (one.refused, one.pii_detected) == (refused, detected)


def test_masked_texts_and_the_annotation() -> None:
    one = verdict(FOUND, Finding(), direction=Direction.OUTPUT)
    assert one.masked == ["<EMAIL_ADDRESS> asks", "fine"]
    assert one.annotation() == {"output_guardrail": [{"pii_detection": True}]}
    assert mask("abcdef", [Span(1, 2, "A"), Span(2, 4, "B")]) == "a<A><B>ef"


def test_frames_are_read_however_they_are_cut() -> None:
    documents = [{"id": 1, "findings": []}, {"id": 2, "problem": "ü" * 50}, {"id": 3}]
    stream = b"".join(frames.encode(document) for document in documents)
    for size in (1, 3, 7, len(stream)):
        decoder = frames.Decoder()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [document for part in parts for document in decoder.feed(part)] == documents


@pytest.mark.parametrize("data", [b"\x02\x00\x00\x00{]", b"\x02\x00\x00\x00{}", b"\x02\x00\x00\x0012", b"\xff" * 4])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        frames.Decoder().feed(data)


def test_a_finding_arrives_as_it_was_sent() -> None:
    finding = Finding((Span(1, 5, "US_SSN"),), {"hate": 0.5}, ("hate",))
    assert frames.finding_of_json(frames.finding_to_json(finding)) == finding
    with pytest.raises(frames.FrameError):
        frames.finding_of_json({"spans": [[1]], "scores": {}, "reasons": []})
