"""A model that judges whether texts are safe: one of the Llama Guard family, or a moderation endpoint.

Sources: model cards of Llama Guard 2 and 3 (the answer is `safe`, or `unsafe` and a line with codes of categories);
OpenAI API reference, moderations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from moorage.guardrails.failures import Cause, CheckFailed
from moorage.guardrails.verdict import CATEGORIES, Direction, Safety

_AT_ONCE = 8
_LONGEST_ANSWER = 256 * 1024
_MOST_TOKENS = 64
_MODERATIONS = "/moderations"
_UNSEEN_PROMPT = "(The prompt is not shown.)"


class Taxonomy(StrEnum):
    """Whose numbers of categories a judge answers with. Llama Guard 4 has those of 3."""

    LLAMA_GUARD_2 = "llama-guard-2"
    LLAMA_GUARD_3 = "llama-guard-3"


# Categories that the API does not know come under their own names.
_CODES: dict[Taxonomy, tuple[str, ...]] = {
    Taxonomy.LLAMA_GUARD_2: CATEGORIES,
    Taxonomy.LLAMA_GUARD_3: (
        *CATEGORIES[:4], "defamation", *CATEGORIES[4:], "elections", "code-interpreter-abuse",
    ),
}  # fmt: skip
_MODERATION_CATEGORIES = {
    "violence": "violent-crimes",
    "illicit/violent": "violent-crimes",
    "illicit": "non-violent-crimes",
    "hate": "hate",
    "harassment": "hate",
    "self-harm": "self-harm",
    "sexual": "sexual-content",
    "sexual/minors": "child-exploitation",
}


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """`url` takes chat completions, or moderations when its path ends so. The file holds a bearer token."""

    url: str
    model: str | None = None
    taxonomy: Taxonomy = Taxonomy.LLAMA_GUARD_3
    token_file: Path | None = None


class Judge:
    """Asks the judge. To be used on one event loop; how long an answer may take is the caller's to say."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._moderates = settings.url.partition("?")[0].rstrip("/").endswith(_MODERATIONS)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def safety(self, direction: Direction, text: str) -> Safety:
        """
        Raises:
            CheckFailed: it gave no judgement.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        async with self._slots:
            try:
                async with self._session.post(
                    self._settings.url,
                    data=orjson.dumps(self._question(direction, text)),
                    headers=self._headers(),
                    allow_redirects=False,
                ) as response:
                    body = await response.content.read(_LONGEST_ANSWER)
                    while not response.content.at_eof() and len(body) < _LONGEST_ANSWER:
                        body += await response.content.read(_LONGEST_ANSWER)
                    status = response.status
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _failed(f"the judge cannot be reached: {error or type(error).__name__}") from error
        if status != 200:
            raise _failed(f"the judge answered with status {status}: {body[:200].decode(errors='replace')}")
        return safety_of_answer(body, self._settings.taxonomy)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _question(self, direction: Direction, text: str) -> dict[str, Any]:
        model = {"model": self._settings.model} if self._settings.model is not None else {}
        if self._moderates:
            return {**model, "input": text}
        messages = [{"role": "user", "content": text}]
        if direction is Direction.OUTPUT:
            messages = [{"role": "user", "content": _UNSEEN_PROMPT}, {"role": "assistant", "content": text}]
        return {**model, "messages": messages, "max_tokens": _MOST_TOKENS, "temperature": 0}

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self._settings.token_file is not None:
            # Read each time: whoever keeps the file may put a new token into it.
            try:
                headers["authorization"] = f"Bearer {self._settings.token_file.read_text().strip()}"
            except OSError as error:
                raise _failed(f"the file of the judge's token cannot be read: {error.strerror}") from error
        return headers


def safety_of_answer(body: bytes, taxonomy: Taxonomy) -> Safety:
    """What a judge said, in either of the two forms.

    Raises:
        CheckFailed: it is neither.
    """
    try:
        document = orjson.loads(body)
        if isinstance(document.get("results"), list):
            return _moderation(document["results"])
        choice = document["choices"][0]
        said = choice["message"]["content"] if "message" in choice else choice["text"]
        lines = said.strip().splitlines()
        return _llama_guard(lines, taxonomy)
    except (orjson.JSONDecodeError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _failed(f"the judge's answer is neither Llama Guard's nor a moderation: {error!r}") from error


def _llama_guard(lines: list[str], taxonomy: Taxonomy) -> Safety:
    word = lines[0].strip().lower()
    if word == "safe":
        return _safety({}, ())
    if word != "unsafe":
        raise ValueError(f"{lines[0][:40]!r} is neither 'safe' nor 'unsafe'")
    codes = [code.strip().upper() for code in ",".join(lines[1:]).split(",")]
    names = _CODES[taxonomy]
    known = {f"S{number}": name for number, name in enumerate(names, 1)}
    return _safety({}, [known.get(code, "unsafe") for code in codes if code] or ["unsafe"])


def _moderation(results: list[Mapping[str, Any]]) -> Safety:
    scores: dict[str, float] = {}
    categories: list[str] = []
    for result in results:
        for name, score in (result.get("category_scores") or {}).items():
            own = _own_name(name)
            scores[own] = max(scores.get(own, 0.0), float(score))
        named = [_own_name(name) for name, applies in (result.get("categories") or {}).items() if applies]
        if result["flagged"]:
            categories += named or ["unsafe"]
    if not results:
        raise ValueError("there is no result")
    return _safety(scores, categories)


def _own_name(name: str) -> str:
    return _MODERATION_CATEGORIES.get(name) or _MODERATION_CATEGORIES.get(name.partition("/")[0], name)


def _safety(scores: Mapping[str, float], categories: Iterable[str]) -> Safety:
    """A judge without scores is sure of what it says."""
    named = tuple(dict.fromkeys(categories))
    return Safety({**scores, **{name: scores.get(name, 1.0) for name in named}}, named)


def _failed(message: str) -> CheckFailed:
    return CheckFailed(Cause.UNAVAILABLE, message)
