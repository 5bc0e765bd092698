"""Requests for embeddings become batches: what waits while the model is busy goes through together."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from moorage.engines.embedding_model import Tokens, Vectors

_MOST_TEXTS = 64  # of one round: nobody waits for more of others' texts once it is his turn
_MOST_TOKENS = 2048  # of one round, as far as a single text has not more
_TURN = 8  # texts of one request, before another one has its turn


class _Job:
    """The texts of one request. They go in by length."""

    __slots__ = ("canceled", "future", "left", "loop", "rows", "vectors", "waiting")

    def __init__(self, rows: Sequence[Tokens], loop: asyncio.AbstractEventLoop) -> None:
        self.rows = rows
        self.loop = loop
        self.future: asyncio.Future[Vectors] = loop.create_future()
        self.waiting = deque(sorted(range(len(rows)), key=lambda index: len(rows[index])))
        self.vectors: list[Vectors | None] = [None] * len(rows)
        self.left = len(rows)
        self.canceled = False

    def settle(self, outcome: Vectors | Exception) -> None:
        self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Vectors | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Batches:
    """One thread calls the model; any number of requests of one event loop wait for it."""

    def __init__(self, embed: Callable[[Sequence[Tokens]], Vectors]) -> None:
        self._embed = embed
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="moorage-embed", daemon=True).start()

    async def embed(self, rows: Sequence[Tokens]) -> Vectors:
        """One vector a row. A caller that is cancelled costs nothing more. What the model raises is raised."""
        job = _Job(rows, asyncio.get_running_loop())
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.future
        finally:
            job.canceled = True

    @property
    def waiting(self) -> int:
        """How many requests have texts that no batch has taken yet."""
        with self._changed:
            return sum(not job.canceled for job in self._jobs)

    def _work(self) -> None:
        while True:
            round_ = self._next_round()
            try:
                vectors = self._embed([job.rows[index] for job, index in round_])
            except Exception as error:  # noqa: BLE001  it is raised again, to whoever asked
                for job in {id(job): job for job, _ in round_}.values():
                    job.canceled = True
                    job.settle(error)
                continue
            for (job, index), vector in zip(round_, vectors, strict=True):
                job.vectors[index] = vector
                job.left -= 1
                if not job.left and not job.canceled:
                    job.settle(np.stack([one for one in job.vectors if one is not None]))

    def _next_round(self) -> list[tuple[_Job, int]]:
        """Texts of the requests that wait, each in its turn."""
        taken: list[tuple[_Job, int]] = []
        tokens = 0
        with self._changed:
            while not taken:
                while not self._jobs:
                    self._changed.wait()
                while self._jobs and len(taken) < _MOST_TEXTS and tokens < _MOST_TOKENS:
                    job = self._jobs.popleft()
                    if job.canceled:
                        continue
                    for _ in range(min(_TURN, len(job.waiting), _MOST_TEXTS - len(taken))):
                        index = job.waiting.popleft()
                        taken.append((job, index))
                        tokens += len(job.rows[index])
                        if tokens >= _MOST_TOKENS:
                            break
                    if job.waiting:
                        self._jobs.append(job)
        return taken
