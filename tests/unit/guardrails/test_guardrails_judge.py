"""A model as judge of safety: what is asked, and what its answers mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from moorage.guardrails.checks import CheckedText, Checker, Parameters
from moorage.guardrails.failures import Cause, CheckFailed
from moorage.guardrails.judge import Judge, JudgeSettings, Taxonomy, safety_of_answer
from moorage.guardrails.verdict import Direction, Safety
from moorage.settings import Settings


def guard(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@pytest.mark.parametrize(
    ("said", "taxonomy", "categories"),
    [
        ("safe", "llama-guard-3", ()),
        ("\n\nsafe\n", "llama-guard-2", ()),
        ("unsafe\nS1", "llama-guard-3", ("violent-crimes",)),
        ("\n\nunsafe\nS9,S11", "llama-guard-3", ("indiscriminate-weapons", "self-harm")),
        ("unsafe\nS9, S11", "llama-guard-2", ("hate", "sexual-content")),
        ("unsafe\ns5", "llama-guard-3", ("defamation",)),
        ("unsafe\nS5", "llama-guard-2", ("specialized-advice",)),
        ("unsafe\nS14", "llama-guard-3", ("code-interpreter-abuse",)),
        ("unsafe\nS99", "llama-guard-3", ("unsafe",)),
        ("unsafe", "llama-guard-3", ("unsafe",)),
    ],
)
def test_answers_of_llama_guard(said: str, taxonomy: str, categories: tuple[str, ...]) -> None:
    assert safety_of_answer(guard(said), Taxonomy(taxonomy)) == Safety(dict.fromkeys(categories, 1.0), categories)


def test_answers_of_a_moderation_endpoint() -> None:
    def answer(flagged: bool) -> bytes:
        categories = {"violence": flagged, "violence/graphic": False, "sexual/minors": flagged, "hate": False}
        scores = {"violence": 0.7, "violence/graphic": 0.9, "sexual/minors": 0.6, "self-harm/intent": 0.2}
        result = {"flagged": flagged, "categories": categories, "category_scores": scores}
        return json.dumps({"id": "m", "results": [result]}).encode()

    scores = {"violent-crimes": 0.9, "child-exploitation": 0.6, "self-harm": 0.2}
    judged = safety_of_answer(answer(True), Taxonomy.LLAMA_GUARD_3)
    assert judged == Safety(scores, ("violent-crimes", "child-exploitation"))
    assert safety_of_answer(answer(False), Taxonomy.LLAMA_GUARD_3) == Safety(scores, ())


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b"{}", b'{"choices": []}', b'{"results": []}', b'{"results": [{}]}', guard(""),
     guard("Yes, that is safe."), b'{"choices": [{"message": {"content": null}}]}'],
)  # fmt: skip
def test_what_is_no_judgement_lets_nothing_pass(body: bytes) -> None:
    with pytest.raises(CheckFailed) as failure:
        safety_of_answer(body, Taxonomy.LLAMA_GUARD_3)
    assert failure.value.cause is Cause.UNAVAILABLE


def with_server(
    answer: Callable[[dict[str, Any], web.Request], web.StreamResponse], check: Callable[[str], Any]
) -> list[dict[str, Any]]:
    """Runs `check` with the URL of a judge; gives what the judge was asked."""
    asked: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return answer(asked[-1], request)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/{tail:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        (host, port) = runner.addresses[0]
        try:
            await check(f"http://{host}:{port}")
        finally:
            await runner.cleanup()

    asyncio.run(run())
    return asked


def test_what_a_judge_is_asked(tmp_path: Path) -> None:
    tokens: list[str | None] = []
    token_file = tmp_path / "token"

    def answer(_: dict[str, Any], request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("authorization"))
        moderation = b'{"results":[{"flagged":false}]}'
        return web.Response(body=guard("unsafe\nS10") if "chat" in request.path else moderation)

    async def check(url: str) -> None:
        settings = JudgeSettings(f"{url}/v1/chat/completions", model="llama-guard-3-8b", token_file=token_file)
        judge = Judge(settings)
        for token in ("first", "second"):
            token_file.write_text(f"{token}\n")
            assert (await judge.safety(Direction.INPUT, "text")).categories == ("hate",)
        await judge.safety(Direction.OUTPUT, "text")
        await judge.close()
        moderation = Judge(JudgeSettings(f"{url}/v1/moderations"))
        assert (await moderation.safety(Direction.INPUT, "text")).categories == ()
        await moderation.close()

    asked = with_server(answer, check)
    assert tokens == ["Bearer first", "Bearer second", "Bearer second", None]
    assert asked[0] == {
        "model": "llama-guard-3-8b",
        "messages": [{"role": "user", "content": "text"}],
        "max_tokens": 64,
        "temperature": 0,
    }
    assert [message["role"] for message in asked[2]["messages"]] == ["user", "assistant"]
    assert asked[2]["messages"][1]["content"] == "text"
    assert asked[3] == {"input": "text"}


@pytest.mark.parametrize("status", [301, 401, 429, 500])
def test_a_judge_that_refuses_lets_nothing_pass(status: int) -> None:
    async def check(url: str) -> None:
        judge = Judge(JudgeSettings(url))
        with pytest.raises(CheckFailed, match=f"status {status}"):
            await judge.safety(Direction.INPUT, "text")
        await judge.close()

    headers = {"location": "/elsewhere"}
    asked = with_server(lambda _, __: web.Response(status=status, text="no", headers=headers), check)
    assert len(asked) == 1


def test_a_judge_that_is_not_there_lets_nothing_pass(tmp_path: Path) -> None:
    async def check() -> None:
        settings = JudgeSettings("http://127.0.0.1:1/")
        for one in (settings, replace(settings, token_file=tmp_path / "none")):
            judge = Judge(one)
            with pytest.raises(CheckFailed):
                await judge.safety(Direction.INPUT, "text")
            await judge.close()

    asyncio.run(check())


def test_a_group_of_texts_is_judged_as_a_whole_and_long_ones_in_parts() -> None:
    found: list[tuple[str, ...]] = []

    async def check(url: str) -> None:
        checker = Checker(None, Path("unused"), Judge(JudgeSettings(url)))
        texts = [CheckedText("one"), CheckedText("two", "assistant"), CheckedText("bad " * 4000, "user", 1)]
        findings = await checker.check(Direction.OUTPUT, Parameters(safety=True), texts)
        found.extend(finding.reasons for finding in findings)
        await checker.close()

    def answer(question: dict[str, Any], _: web.Request) -> web.StreamResponse:
        return web.Response(body=guard("unsafe\nS1" if "bad" in question["messages"][-1]["content"] else "safe"))

    asked = with_server(answer, check)
    assert asked[0]["messages"][-1]["content"] == "one\n\ntwo"
    assert len(asked) == 3
    assert found == [(), (), ("violent-crimes",)]


def test_settings_and_judge_know_the_same_taxonomies() -> None:
    for taxonomy in Taxonomy:
        assert Settings(guardrails_judge_taxonomy=taxonomy.value).guardrails_judge_taxonomy == taxonomy


@pytest.mark.parametrize("judge", ["llama-guard", "https://host/v1/moderations", "http://[::1]:8000/v1"])
def test_a_judge_is_an_endpoint_or_a_url(judge: str) -> None:
    assert Settings(guardrails_judge_endpoint=judge).guardrails_judge_endpoint == judge


@pytest.mark.parametrize("judge", ["", "two words", "ftp://host", "https://", "https://me:secret@host", "a/b"])
def test_what_is_no_judge_is_refused(judge: str) -> None:
    with pytest.raises(ValueError, match="name of a serving endpoint") as refusal:
        Settings(guardrails_judge_endpoint=judge)
    assert "secret" not in str(refusal.value)
