"""Checks by what sentences mean: how near they are to example sentences, and to the topics that are allowed.

The examples are in `exemplars.json`: for each category of unsafe content, for jailbreaks, for what is harmless
although it has the same words, and for small talk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from moorage.guardrails.embeddings import Embedder, Vectors
from moorage.guardrails.verdict import CATEGORIES, JAILBREAK, Safety

_HARMLESS = "harmless"
_SMALL_TALK = "small-talk"

_UNSAFE = 0.42
_JAILBREAK = 0.45
_LEAD = 0.08  # over the nearest harmless example
_SUSPECT = 0.25
_SUSPECT_LAG = 0.05
_ON_TOPIC = 0.15
_TALKS_SMALL = 0.6


class Suspicion(NamedTuple):
    """How much a sentence reads like an attempt to get around a model's rules, 0 to 1.

    `sure`: no second opinion is needed. `suspect`: it is worth one.
    """

    score: float
    sure: bool
    suspect: bool


class Meaning:
    """Compares vectors of sentences. Loading embeds the examples, which takes about a second."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        phrases: dict[str, list[str]] = json.loads(files(__package__).joinpath("exemplars.json").read_bytes())
        self._exemplars = {name: embedder.embed(examples) for name, examples in phrases.items()}
        self._topic = lru_cache(maxsize=1024)(self._embed_topic)

    def safety(self, sentences: Vectors) -> Safety:
        """Of the text that consists of these sentences."""
        harmless = self._harmless(sentences)
        scores, categories = {}, []
        for name in CATEGORIES:
            near = self._nearest(sentences, (name,))
            scores[name] = max([0.0, *near])
            pairs = zip(near, harmless, strict=True)
            if any(score >= _UNSAFE and score >= other + _LEAD for score, other in pairs):
                categories.append(name)
        return Safety(scores, tuple(categories))

    def suspicions(self, sentences: Vectors) -> list[Suspicion]:
        """Of each sentence."""
        near, harmless = self._nearest(sentences, (JAILBREAK,)), self._harmless(sentences)
        return [
            Suspicion(
                max(score, 0.0),
                sure=score >= _JAILBREAK and score >= other + _LEAD,
                suspect=score >= _SUSPECT and score >= other - _SUSPECT_LAG,
            )
            for score, other in zip(near, harmless, strict=True)
        ]

    def on_topic(self, sentences: Vectors, topics: Iterable[str]) -> bool:
        """Whether one of the sentences has to do with one of the topics, or is nothing but small talk."""
        if max(self._nearest(sentences, (_SMALL_TALK,)), default=1.0) >= _TALKS_SMALL and len(sentences) == 1:
            return True
        return any(float((sentences @ self._topic(topic).T).max(initial=-1.0)) >= _ON_TOPIC for topic in topics)

    def _embed_topic(self, topic: str) -> Vectors:
        return self.embedder.embed([topic, f"A question about {topic}."])

    def _harmless(self, sentences: Vectors) -> list[float]:
        return self._nearest(sentences, (_HARMLESS, _SMALL_TALK))

    def _nearest(self, sentences: Vectors, names: Sequence[str]) -> list[float]:
        """Of each sentence, the similarity to the nearest example."""
        nearest = (sentences @ self._exemplars[names[0]].T).max(axis=1)
        for name in names[1:]:
            nearest = nearest.clip(min=(sentences @ self._exemplars[name].T).max(axis=1))
        return [float(one) for one in nearest]
