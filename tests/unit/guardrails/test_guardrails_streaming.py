"""Streams: identifiers are caught wherever they are cut, nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.api.ai_gateway import GuardrailParameters
from moorage.guardrails.pii import PiiDetector
from moorage.guardrails.streaming import Check, GuardedStream, Window
from moorage.guardrails.verdict import (
    Direction,
    Finding,
    GuardrailsUnavailable,
    GuardrailTriggered,
    Span,
    Usage,
    Verdict,
    mask,
)

CARD = "4111 1111 1111 1111"
EMAIL = "jo.doe@mail.example.com"
_PII = re.compile(r"(?P<CREDIT_CARD>\b\d{4}(?: \d{4}){3}\b)|(?P<EMAIL_ADDRESS>\b[a-z.]+@[a-z.]+\.com\b)")
Chunk = dict[str, Any]


def spans_of(text: str) -> tuple[Span, ...]:
    return tuple(Span(one.start(), one.end(), one.lastgroup or "") for one in _PII.finditer(text))


class FakeCheck:
    """Finds cards and addresses, and refuses texts with one of the words; remembers what it was shown."""

    def __init__(self, *words: str, blocks: bool = False) -> None:
        self.words = words
        self.blocks = blocks
        self.shown: list[tuple[str, int]] = []

    async def __call__(self, texts: Sequence[str], choice: int) -> Verdict:
        self.shown += [(text, choice) for text in texts]
        findings = []
        for text in texts:
            hit = any(re.search(rf"\b{word}\b", text) for word in self.words)
            findings.append(Finding(spans_of(text), reasons=("invalid-keywords",) if hit else ()))
        groups = (choice,) * len(texts)
        return Verdict(Direction.OUTPUT, tuple(texts), groups, tuple(findings), self.blocks)


def chat(content: str | None = None, index: int = 0, finish: str | None = None, **delta: Any) -> Chunk:
    if content is not None:
        delta["content"] = content
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def stream(check: Check, window: Window | None = None, **options: Any) -> GuardedStream:
    return GuardedStream(check, window or Window(), **options)


def through(guarded: GuardedStream, chunks: Sequence[Chunk]) -> list[Chunk]:
    async def run() -> list[Chunk]:
        out: list[Chunk] = []
        for chunk in chunks:
            out += await guarded.feed(chunk)
        return out + await guarded.end()

    return asyncio.run(run())


def said(chunks: Sequence[Chunk], index: int = 0, key: str = "content") -> str:
    own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice.get("text") or (choice.get("delta") or {}).get(key) or "" for choice in own)


WORDS = st.sampled_from(["the", "a", "word", "is", "12", "4111", "1111 ", "\n", ".", "。", "这是", "x" * 90, "é"])
IDENTIFIERS = st.sampled_from([CARD, EMAIL, "anna@x.com"])
TEXTS = st.lists(st.one_of(WORDS, WORDS, WORDS, IDENTIFIERS), max_size=120).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.data(), st.sampled_from([None, "stop"]))
def test_every_choice_says_what_the_whole_text_masked_says(
    texts: list[str], data: st.DataObject, finish: str | None
) -> None:
    left = dict(enumerate(texts))
    chunks = [chat(role="assistant", index=index) for index in left]
    while left:
        index = data.draw(st.sampled_from(sorted(left)))
        size = data.draw(st.one_of(st.integers(1, 40), st.integers(100, 600)))
        chunks.append(chat(left[index][:size], index))
        left[index] = left[index][size:]
        if not left[index]:
            del left[index]
            if finish:
                chunks.append(chat(index=index, finish=finish))
    usage = {"id": "c", "choices": [], "usage": {"total_tokens": 3}}
    out = through(stream(FakeCheck()), [*chunks, usage])
    for index, text in enumerate(texts):
        assert said(out, index) == mask(text, spans_of(text))
        own = [chunk["choices"][0] for chunk in out if chunk["choices"] and chunk["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant"}
        assert [choice["finish_reason"] for choice in own][-1] == finish
    assert len(out) == len(chunks) + 1
    assert out[-1] == usage


@pytest.mark.parametrize("before", ["", "Of course! Here you are, it was in the file of the customer: "])
@pytest.mark.parametrize("identifier", [CARD, EMAIL, "212-555-0187", "DE89 3704 0044 0532 0130 00"])
def test_an_identifier_cut_at_any_place_is_masked_by_the_real_detector(identifier: str, before: str) -> None:
    detector = PiiDetector()

    async def check(texts: Sequence[str], choice: int) -> Verdict:
        findings = tuple(Finding(tuple(detector.spans(text))) for text in texts)
        return Verdict(Direction.OUTPUT, tuple(texts), (choice,) * len(texts), findings)

    text = f"{before}{identifier} and that is all that there is to say about it, is it not? Just ask me for more."
    expected = mask(text, detector.spans(text))
    assert identifier not in expected
    for cut in range(len(before), len(before) + len(identifier) + 1):
        parts = [text[:cut], text[cut : cut + 1], text[cut + 1 :]]
        assert said(through(stream(check), [chat(part) for part in parts])) == expected


def test_text_goes_out_while_more_comes() -> None:
    guarded = stream(FakeCheck())

    async def run() -> list[int]:
        out, lags = "", []
        for at in range(200):
            out += said(await guarded.feed(chat("word ")))
            lags.append(5 * (at + 1) - len(out))
        return lags

    lags = asyncio.run(run())
    window = Window()
    assert max(lags) <= window.held + window.step + 10
    assert min(lags[50:]) < window.held + 10


def test_text_without_a_space_is_not_held_for_ever() -> None:
    guarded = stream(FakeCheck())

    async def run() -> int:
        return sum([len(said(await guarded.feed(chat("abcde")))) for _ in range(400)])

    assert asyncio.run(run()) > 1000


def test_what_is_remembered_does_not_grow_with_the_stream() -> None:
    check = FakeCheck()
    through(stream(check), [chat("some words ") for _ in range(2000)])
    window = Window()
    assert max(len(text) for text, _ in check.shown) <= window.context + window.held + window.step + 40
    # Each character is shown a few times, not once for each chunk.
    assert sum(len(text) for text, _ in check.shown) < 6 * 2000 * len("some words ")


def test_a_keyword_ends_the_stream_and_what_was_cleared_is_not_lost() -> None:
    usage = Usage(7, 9)
    guarded = stream(FakeCheck("secret"), usage=lambda: usage)
    out: list[Chunk] = []

    async def run() -> None:
        for part in ["fine words "] * 30 + ["and the sec", "ret is out. "] + ["more words "] * 30:
            out.extend(await guarded.feed(chat(part)))

    with pytest.raises(GuardrailTriggered) as refusal:
        asyncio.run(run())
    document = refusal.value.document
    assert document["finishReason"] == "output_guardrail_triggered"
    assert document["usage"] == {"prompt_tokens": 7, "total_tokens": 9}
    assert document["output_guardrail"][0]["categories"]["invalid-keywords"] is True
    went_out = said([*out, *guarded.unsent])
    assert went_out.startswith("fine words ")
    assert "sec" not in went_out


def test_a_word_that_only_begins_like_a_keyword_passes_wherever_it_is_cut() -> None:
    for shift in range(40):
        text = "." * shift + " the secretary has a secretariat and" * 10
        for size in (7, 36):
            parts = [text[at : at + size] for at in range(0, len(text), size)]
            assert said(through(stream(FakeCheck("secret", "ret", "retary")), [chat(part) for part in parts])) == text


def test_an_identifier_longer_than_anything_that_is_held_is_masked_from_where_it_can_be() -> None:
    text = f"{'a' * 1500}@x.com and more"
    out = said(through(stream(FakeCheck()), [chat(text[at : at + 9]) for at in range(0, len(text), 9)]))
    assert re.fullmatch(r"a{1,1400}<EMAIL_ADDRESS> and more", out)


def test_blocked_identifiers_end_the_stream() -> None:
    guarded = stream(FakeCheck(blocks=True))
    with pytest.raises(GuardrailTriggered):
        through(guarded, [chat("mine is 4111 1111 "), chat("1111 1111, as you know."), chat(finish="stop")])
    assert "1111" not in said(guarded.unsent)


def test_nothing_passes_when_the_check_fails() -> None:
    async def fail(texts: Sequence[str], choice: int) -> Verdict:
        raise GuardrailsUnavailable("gone")

    guarded = stream(fail)
    with pytest.raises(GuardrailsUnavailable):
        through(guarded, [chat("word " * 10) for _ in range(20)])
    assert said(guarded.unsent) == ""


def call(arguments: str, index: int = 0, **function: Any) -> Chunk:
    return chat(tool_calls=[{"index": index, "function": {**function, "arguments": arguments}}])


def test_what_tools_are_called_with_is_checked_whole_and_stays_json() -> None:
    arguments = json.dumps({"to": EMAIL, "note": "call\njo"}).replace("@", "\\u0040")
    other = '{"card": "4111 1111 1111 1111"}'
    chunks = [chat("Let me see. "), call("", id="t", name="send"), call("", index=1, name="pay")]
    chunks += [call(arguments[at : at + 4]) for at in range(0, len(arguments), 4)]
    chunks += [call(other[at : at + 4], index=1) for at in range(0, len(other), 4)]
    out = through(stream(FakeCheck()), [*chunks, chat(finish="tool_calls")])
    texts = {0: "", 1: ""}
    for chunk in out:
        for one in chunk["choices"][0]["delta"].get("tool_calls", ()):
            texts[one["index"]] += one["function"]["arguments"]
    assert json.loads(texts[0]) == {"to": "<EMAIL_ADDRESS>", "note": "call\njo"}
    assert json.loads(texts[1]) == {"card": "<CREDIT_CARD>"}
    assert said(out) == "Let me see. "
    assert out[-1]["choices"][0]["finish_reason"] == "tool_calls"
    with pytest.raises(GuardrailTriggered):
        through(stream(FakeCheck("jo")), [*chunks, chat(finish="tool_calls")])


def test_tool_calls_with_nothing_in_them_pass_to_the_letter() -> None:
    chunks = [call('{"a": ', name="f"), call("1}"), chat(finish="tool_calls")]
    assert through(stream(FakeCheck()), chunks) == chunks
    broken = [call('{"a": "jo'), call("@x.com"), chat(finish="length")]
    out = through(stream(FakeCheck()), broken)
    assert out[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"a": "<EMAIL_ADDRESS>'


def test_reasoning_and_completions_are_texts_too() -> None:
    chunks = [chat(reasoning_content=part) for part in ("ask jo@", "x.com")] + [chat("done", finish="stop")]
    out = through(stream(FakeCheck()), chunks)
    assert said(out, key="reasoning_content") == "ask <EMAIL_ADDRESS>"
    assert said(out) == "done"
    completion = [{"choices": [{"index": 0, "text": part, "finish_reason": None}]} for part in ("to jo", "@x.com")]
    assert said(through(stream(FakeCheck()), completion)) == "to <EMAIL_ADDRESS>"
    contents = [[{"type": "text", "text": part}] for part in ("to jo", "@x.com")]
    parts = [{"choices": [{"index": 0, "delta": {"content": content}}]} for content in contents]
    out = through(stream(FakeCheck()), parts)
    assert "".join(one["choices"][0]["delta"]["content"][0]["text"] for one in out) == "to <EMAIL_ADDRESS>"


def test_a_masked_answer_says_so_at_its_end_and_its_probabilities_are_dropped() -> None:
    with_logprobs = chat("jo@x.com", finish="stop")
    with_logprobs["choices"][0]["logprobs"] = {"content": [{"token": "jo@x.com"}]}
    (out,) = through(stream(FakeCheck()), [with_logprobs])
    assert out["output_guardrail"] == [{"pii_detection": True}]
    assert out["choices"][0]["logprobs"] is None
    plain = chat("fine", finish="stop")
    plain["choices"][0]["logprobs"] = {"content": [{"token": "fine"}]}
    assert through(stream(FakeCheck()), [plain]) == [plain]


def test_several_choices_in_one_chunk_are_taken_apart() -> None:
    both = {
        "id": "c",
        "choices": [chat(f"say {index}", index, finish="stop")["choices"][0] for index in (0, 1)],
        "usage": {"total_tokens": 1},
    }
    out = through(stream(FakeCheck()), [both])
    assert [said(out, index) for index in (0, 1)] == ["say 0", "say 1"]
    assert ["usage" in chunk for chunk in out] == [False, True]


def test_nothing_goes_out_before_it_is_known_what_an_answer_is_about() -> None:
    asked: list[str] = []

    async def opening(texts: Sequence[str], choice: int) -> Verdict:
        asked.extend(texts)
        findings = (Finding(reasons=("off-topic",) if "football" in texts[0] else ()),)
        return Verdict(Direction.OUTPUT, tuple(texts), (choice,), findings)

    window = Window.of(GuardrailParameters.model_validate({"valid_topics": ["cooking"]}))

    def guarded() -> GuardedStream:
        return stream(FakeCheck(), window, check_opening=opening)

    fine = [chat("boil the egg ") for _ in range(100)]
    assert said(through(guarded(), fine)) == "boil the egg " * 100
    assert len(asked) == 1
    assert len(asked[0]) >= window.opening
    assert said(through(guarded(), [chat("short", finish="stop")])) == "short"
    one = guarded()
    with pytest.raises(GuardrailTriggered):
        through(one, [chat("football is ") for _ in range(100)])
    assert one.unsent == []


def test_windows_are_as_wide_as_the_parameters_need() -> None:
    def of(**parameters: Any) -> Window:
        return Window.of(GuardrailParameters.model_validate(parameters))

    assert of(pii={"behavior": "MASK"}) == Window()
    assert of(invalid_keywords=["x" * 100]).held == 101
    assert of(safety=True).step > of().step
    assert of(valid_topics=["x"]).opening > 0
