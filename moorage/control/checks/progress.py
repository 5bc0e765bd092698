"""How far a check has come: its steps, how long each took and what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from moorage.api.model_checks import CheckStep, StepFigures, StepName, StepState
from moorage.control.reconciler.preparation import StepFailed


class Step:
    """One step. It ends as OK, unless it was told otherwise."""

    def __init__(self, name: StepName, clock: Callable[[], float]) -> None:
        self.name = name
        self.state = StepState.PENDING
        self.figures: StepFigures | None = None
        self._clock = clock
        self._outcome = StepState.OK
        self._words: list[str] = []
        self._began: float | None = None
        self._ended: float | None = None

    def say(self, text: str) -> None:
        """Add a line to its message."""
        self._words.append(text)

    def warn(self, text: str) -> None:
        """Add a line; the step ends as WARNING."""
        self._words.append(text)
        self._outcome = StepState.WARNING

    def skip(self, text: str) -> None:
        """Add a line; the step ends as SKIPPED."""
        self._words.append(text)
        self._outcome = StepState.SKIPPED

    def fail(self, text: str) -> None:
        """Add a line; the step ends as FAILED."""
        self._words.append(text)
        self._outcome = StepState.FAILED

    @contextmanager
    def running(self) -> Iterator[Step]:
        """For the time of the block; a `StepFailed` that leaves it is the step's failure."""
        self.state, self._began = StepState.RUNNING, self._clock()
        try:
            yield self
        except StepFailed as error:
            self.fail(str(error))
            raise
        except Exception as error:
            self.fail(f"The server failed: {type(error).__name__}.")
            raise
        except asyncio.CancelledError:
            self._outcome = StepState.SKIPPED
            raise
        finally:
            self.state, self._ended = self._outcome, self._clock()

    def view(self) -> CheckStep:
        """The wire object as of now."""
        seconds = None
        if self._began is not None:
            until = self._clock() if self._ended is None else self._ended
            seconds = round(until - self._began, 3)
        return CheckStep(
            name=self.name, state=self.state, seconds=seconds, message="\n".join(self._words), figures=self.figures
        )


class Progress:
    """All steps of one check. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._steps = {name: Step(name, clock) for name in StepName}

    def step(self, name: StepName) -> Step:
        return self._steps[name]

    def conclude(self) -> None:
        """Mark what was not reached as skipped."""
        for step in self._steps.values():
            if step.state is StepState.PENDING:
                step.state = StepState.SKIPPED

    def in_state(self, state: StepState) -> list[Step]:
        return [step for step in self._steps.values() if step.state is state]

    def view(self) -> tuple[CheckStep, ...]:
        return tuple(step.view() for step in self._steps.values())
