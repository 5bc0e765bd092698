"""The checks themselves: which detectors look at which texts, each loaded when it is first needed.

Detectors are Python and native code that computes; it runs on two threads, one for patterns and one for models. Long
texts are looked at piece by piece, so that short ones do not wait behind them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from moorage.guardrails.failures import Cause, CheckFailed
from moorage.guardrails.installed import EXTRA_MISSING, MODEL_MISSING, ModelFiles
from moorage.guardrails.keywords import contains_keyword
from moorage.guardrails.verdict import (
    INVALID_KEYWORDS,
    JAILBREAK,
    OFF_TOPIC,
    Direction,
    Finding,
    Safety,
    Span,
)
from moorage.guardrails.windows import segments, sentences

if TYPE_CHECKING:
    from moorage.guardrails.jailbreak import JailbreakClassifier
    from moorage.guardrails.judge import Judge
    from moorage.guardrails.meaning import Meaning
    from moorage.guardrails.pii import PiiDetector

MOST_CHARACTERS = 2_000_000
MOST_COMPARED_CHARACTERS = 100_000
"""Of all texts of a check that is for safety; about four seconds of one core."""

_T = TypeVar("_T")
_SEGMENT = 2000
_MARGIN = 120
_BATCH = 16
_JUDGED_CHARACTERS = 8000
_TOPIC_CHARACTERS = 4000
_FOLLOW_UP = 24  # characters: a message this short is understood with the one before
_REMEMBERED = 4096
_UNTRUSTED_ROLES = ("user", "tool")


class CheckedText(NamedTuple):
    """A text, whose it is (`user`, `assistant`, `system`, `tool`), and which others belong to it."""

    text: str
    role: str = "user"
    group: int = 0


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to look for on one side."""

    safety: bool = False
    pii: bool = False
    invalid_keywords: tuple[str, ...] = ()
    valid_topics: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Parameters:
        """From the parameters as the API has them."""
        return cls(
            safety=bool(document.get("safety")),
            pii=(document.get("pii") or {}).get("behavior", "NONE") != "NONE",
            invalid_keywords=tuple(document.get("invalid_keywords") or ()),
            valid_topics=tuple(document.get("valid_topics") or ()),
        )


class _Judged(NamedTuple):
    safety: Safety | None
    jailbreak: float | None


class Checker:
    """Looks at texts. To be used on one event loop, which is free meanwhile."""

    def __init__(self, files: ModelFiles | None, folder: Path, judge: Judge | None = None) -> None:
        """`files` is the embedding model, if there is one; `folder` is for links to it, and need not exist yet."""
        self._files = files
        self._folder = folder
        self._judge = judge
        self._patterns = ThreadPoolExecutor(1, "patterns")
        self._models = ThreadPoolExecutor(1, "models")
        self._loads: dict[str, asyncio.Task[Any]] = {}
        self._remembered: OrderedDict[bytes, _Judged] = OrderedDict()

    async def check(
        self, direction: Direction, parameters: Parameters, texts: Sequence[CheckedText]
    ) -> list[Finding]:
        """A finding for each text.

        Raises:
            CheckFailed: see there.
        """
        self._refuse_too_long(parameters, texts)
        compared = parameters.safety and (self._judge is None or direction is Direction.INPUT)
        try:
            async with asyncio.TaskGroup() as group:
                spans = group.create_task(self._all_spans(texts if parameters.pii else ()))
                keywords = group.create_task(self._keywords(texts, parameters.invalid_keywords))
                judged = group.create_task(self._compared(direction, texts if compared else ()))
                asked = group.create_task(self._asked(direction, texts if parameters.safety else ()))
                strays = group.create_task(self._off_topic(direction, texts, parameters.valid_topics))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [
            _finding(
                spans.result().get(index, ()),
                keyword=index in keywords.result(),
                judged=judged.result().get(index),
                asked=asked.result().get(index),
                off_topic=index in strays.result(),
            )
            for index in range(len(texts))
        ]

    async def warm(self, direction: Direction, parameters: Parameters) -> None:
        """Have loaded what checks with these parameters need; raises as `check`."""
        if parameters.pii:
            await self._pii()
        if (parameters.safety and self._judge is None) or parameters.valid_topics:
            await self._meaning()
        if parameters.safety and direction is Direction.INPUT:
            await self._meaning()
            await self._classifier()

    async def close(self) -> None:
        for load in self._loads.values():
            load.cancel()
        self._patterns.shutdown(wait=False, cancel_futures=True)
        self._models.shutdown(wait=False, cancel_futures=True)
        if self._judge is not None:
            await self._judge.close()

    def _refuse_too_long(self, parameters: Parameters, texts: Sequence[CheckedText]) -> None:
        limit = MOST_COMPARED_CHARACTERS if parameters.safety else MOST_CHARACTERS
        characters = sum(len(one.text) for one in texts)
        if characters > limit:
            raise CheckFailed(
                Cause.TOO_LONG,
                f"The guardrails of this endpoint check at most {limit} characters; there are {characters}.",
            )

    async def _all_spans(self, texts: Sequence[CheckedText]) -> dict[int, tuple[Span, ...]]:
        if not texts:
            return {}
        detector = await self._pii()
        return {index: await self._spans(detector, one.text) for index, one in enumerate(texts)}

    async def _spans(self, detector: PiiDetector, text: str) -> tuple[Span, ...]:
        found: list[Span] = []
        for segment in segments(text, size=_SEGMENT, margin=_MARGIN):
            if not detector.worth_a_look(segment.text):
                continue
            for span in await self._run(self._patterns, detector.spans, segment.text):
                start, end = span.start + segment.offset, span.end + segment.offset
                known = found and start < found[-1].end
                if segment.start <= start < segment.end and not known:
                    found.append(Span(start, end, span.label))
        return tuple(found)

    async def _keywords(self, texts: Sequence[CheckedText], keywords: Sequence[str]) -> set[int]:
        if not keywords:
            return set()
        return {
            index
            for index, one in enumerate(texts)
            if await self._run(self._patterns, contains_keyword, one.text, keywords)
        }

    async def _compared(self, direction: Direction, texts: Sequence[CheckedText]) -> dict[int, _Judged]:
        """What the examples say of each text's safety, unless there is a judge, and whether it is a jailbreak."""
        if not texts:
            return {}
        meaning = await self._meaning()
        classifier = await self._classifier() if direction is Direction.INPUT else None
        found = {}
        for index, one in enumerate(texts):
            suspect = classifier if one.role in _UNTRUSTED_ROLES else None
            if self._judge is None or suspect is not None:
                found[index] = await self._judge_by_examples(meaning, suspect, one.text)
        return found

    async def _judge_by_examples(
        self, meaning: Meaning, classifier: JailbreakClassifier | None, text: str
    ) -> _Judged:
        # The turns of a chat come again with each new one. The text itself is not kept.
        key = hashlib.blake2b(text.encode(), digest_size=16, salt=b"input" if classifier else b"output").digest()
        if key in self._remembered:
            self._remembered.move_to_end(key)
            return self._remembered[key]
        scores: dict[str, float] = {}
        categories: list[str] = []
        jailbreak: float | None = None
        parts = sentences(text)
        for at in range(0, len(parts), _BATCH):
            batch = parts[at : at + _BATCH]
            vectors = await self._run(self._models, meaning.embedder.embed, batch)
            if self._judge is None:
                safety = meaning.safety(vectors)
                scores = {name: max(score, scores.get(name, 0.0)) for name, score in safety.scores.items()}
                categories += safety.categories
            if classifier is None or jailbreak is not None:
                continue
            for sentence, suspicion in zip(batch, meaning.suspicions(vectors), strict=True):
                if suspicion.sure or (
                    suspicion.suspect and await self._run(self._models, classifier.is_injection, sentence)
                ):
                    jailbreak = suspicion.score
                    break
        safety_found = Safety(scores, tuple(dict.fromkeys(categories))) if self._judge is None else None
        judged = _Judged(safety_found, jailbreak)
        self._remembered[key] = judged
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return judged

    async def _asked(self, direction: Direction, texts: Sequence[CheckedText]) -> dict[int, Safety]:
        """What the judge says of each group of texts, at the last one's index."""
        if self._judge is None:
            return {}
        last = {one.group: index for index, one in enumerate(texts)}
        found = {}
        for group, index in last.items():
            whole = "\n\n".join(one.text for one in texts if one.group == group)
            cut = segments(whole, size=_JUDGED_CHARACTERS, margin=_MARGIN)
            parts = [part.text for part in cut if part.text.strip()]
            found[index] = _worst([await self._judge.safety(direction, part) for part in parts])
        return found

    async def _off_topic(
        self, direction: Direction, texts: Sequence[CheckedText], topics: Sequence[str]
    ) -> set[int]:
        """The texts that have to be about one of the topics, and are not: one of each group at most."""
        if not topics:
            return set()
        meaning = await self._meaning()
        found = set()
        for index, text in _leading(direction, texts):
            parts = sentences(text[:_TOPIC_CHARACTERS])
            if parts and not await self._run(self._models, _is_on_topic, meaning, parts, topics):
                found.add(index)
        return found

    async def _pii(self) -> PiiDetector:
        def load() -> PiiDetector:
            from moorage.guardrails.pii import PiiDetector

            return PiiDetector()

        return await self._loaded("pii", self._patterns, load)

    async def _meaning(self) -> Meaning:
        files = self._required_files()

        def load() -> Meaning:
            from moorage.guardrails.embeddings import Embedder
            from moorage.guardrails.meaning import Meaning

            return Meaning(Embedder(files))

        return await self._loaded("meaning", self._models, load)

    async def _classifier(self) -> JailbreakClassifier:
        files = self._required_files()

        def load() -> JailbreakClassifier:
            from moorage.guardrails.jailbreak import JailbreakClassifier

            return JailbreakClassifier(files, self._folder)

        return await self._loaded("jailbreak", self._models, load)

    def _required_files(self) -> ModelFiles:
        if self._files is None:
            raise CheckFailed(Cause.UNAVAILABLE, MODEL_MISSING)
        return self._files

    async def _loaded(self, name: str, lane: ThreadPoolExecutor, load: Callable[[], _T]) -> _T:
        """The detector, loaded once. Whoever gives up waiting leaves the loading to the next one."""
        task = self._loads.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._run(lane, load))
            self._loads[name] = task
        try:
            detector: _T = await asyncio.shield(task)
        except ImportError as error:
            raise CheckFailed(Cause.UNAVAILABLE, f"{EXTRA_MISSING} ({error})") from error
        return detector

    async def _run(self, lane: ThreadPoolExecutor, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(lane, function, *arguments)


def _is_on_topic(meaning: Meaning, parts: Sequence[str], topics: Sequence[str]) -> bool:
    return meaning.on_topic(meaning.embedder.embed(parts), topics)


def _leading(direction: Direction, texts: Sequence[CheckedText]) -> Iterator[tuple[int, str]]:
    """Of each group the text that says what it is about: what the user wrote last, or the longest of an answer."""
    for group in dict.fromkeys(one.group for one in texts):
        own = [(index, one.text) for index, one in enumerate(texts) if one.group == group]
        if direction is Direction.OUTPUT:
            yield max(own, key=lambda pair: len(pair[1]))
            continue
        of_user = [(index, text) for index, text in own if texts[index].role == "user"]
        if of_user:
            index, text = of_user[-1]
            before = of_user[-2][1] if len(text) < _FOLLOW_UP and len(of_user) > 1 else ""
            yield index, f"{before}\n{text}" if before else text


def _worst(said: Sequence[Safety]) -> Safety:
    """Of a text whose parts were judged."""
    scores: dict[str, float] = {}
    for safety in said:
        scores = {**scores, **{name: max(score, scores.get(name, 0.0)) for name, score in safety.scores.items()}}
    return Safety(scores, tuple(dict.fromkeys(name for safety in said for name in safety.categories)))


def _finding(
    spans: tuple[Span, ...], *, keyword: bool, judged: _Judged | None, asked: Safety | None, off_topic: bool
) -> Finding:
    scores: dict[str, float] = {}
    reasons: list[str] = []
    for safety in (judged.safety if judged else None, asked):
        if safety is not None:
            scores.update(safety.scores)
            reasons += safety.categories
    if judged is not None and judged.jailbreak is not None:
        scores[JAILBREAK] = judged.jailbreak
        reasons.append(JAILBREAK)
    for name, applies in ((INVALID_KEYWORDS, keyword), (OFF_TOPIC, off_topic)):
        if applies:
            scores[name] = 1.0
            reasons.append(name)
    return Finding(spans, scores, tuple(reasons))
