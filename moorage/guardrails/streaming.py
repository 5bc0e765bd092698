"""Answers checked on their way: what of a stream may go out, and what has to wait for more.

Text is held back until it is clear that no identifier or keyword begins in it that is not whole yet. What tools are
called with is held until the end of its choice: it is JSON, of which half cannot be checked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from moorage.guardrails.keywords import is_in_word, is_unspaced
from moorage.guardrails.texts import JSON_TEXT, Path, argument_texts, arguments_with_texts, replaced, texts_in
from moorage.guardrails.verdict import Direction, Span, Usage, Verdict, mask

if TYPE_CHECKING:
    from moorage.api.ai_gateway import GuardrailParameters
    from moorage.guardrails.client import GuardrailClient

Document = dict[str, Any]
Check = Callable[[Sequence[str], int], Awaitable[Verdict]]
"""Checks texts of the choice with that index. Raises `GuardrailsUnavailable`."""

_HELD = 64
_STEP = 64
_STEP_OF_MEANING = 200
_OPENING = 400
_LONGEST_RUN = 512
_ANSWER_KEYS = ("content", "text")


@dataclass(frozen=True, slots=True)
class Window:
    """How many characters are held back, come new to each check, and are shown to it once more from before.

    With an `opening`, nothing goes out before so many characters are there to tell what the answer is about.
    """

    held: int = _HELD
    step: int = _STEP
    context: int = _HELD + _STEP
    opening: int = 0

    @classmethod
    def of(cls, parameters: GuardrailParameters) -> Window:
        """What these parameters need: sentences where the meaning is looked at, keywords whole."""
        step = _STEP_OF_MEANING if parameters.safety else _STEP
        held = max([_HELD, *(len(keyword) + 1 for keyword in parameters.invalid_keywords or ())])
        return cls(held, step, held + step, _OPENING if parameters.valid_topics else 0)


@dataclass(slots=True)
class _Channel:
    """One text that arrives in parts: an answer, its reasoning, what a tool is called with.

    Offsets count from the beginning of the text. `text` begins at `base`; all before `cleared` may go out.
    """

    whole: bool = False
    opens: bool = False
    text: str = ""
    base: int = 0
    cleared: int = 0
    checked: int = 0
    spans: list[Span] = field(default_factory=list)
    replacement: str | None = None

    @property
    def end(self) -> int:
        return self.base + len(self.text)

    def outgoing(self, start: int, end: int) -> str:
        """What goes out in the place of this part."""
        if self.replacement is not None:
            return self.replacement if start == 0 else ""
        # An identifier's label goes where it begins.
        own = [
            Span(max(span.start, start) - start, min(span.end, end) - start, span.label)
            for span in self.spans
            if span.start < end and span.end > start
        ]
        begun_before = bool(own) and any(span.start < start < span.end for span in self.spans)
        text = self.text[start - self.base : end - self.base]
        if begun_before:
            gone = own[0].end
            return mask(text[gone:], [Span(one.start - gone, one.end - gone, one.label) for one in own[1:]])
        return mask(text, own)

    def forget(self, needed: int, context: int) -> None:
        """Drop what has gone out, but `context` characters; what is from `needed` on has not."""
        gone = min(needed, self.cleared) - self.base
        if gone <= context:
            return
        space = self.text.find(" ", gone - context, gone)
        dropped = space + 1 if space >= 0 else gone - context
        self.text = self.text[dropped:]
        self.base += dropped
        self.spans = [span for span in self.spans if span.end > self.base]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a channel, and where it is in its chunk."""

    channel: _Channel
    start: int
    end: int
    path: Path


@dataclass(slots=True)
class _Choice:
    """One of the answers. Its chunks go out in their order."""

    channels: dict[Path, _Channel] = field(default_factory=dict)
    chunks: deque[tuple[Document, list[_Part]]] = field(default_factory=deque)
    masked: bool = False


class GuardedStream:
    """Takes the chunks of a stream in OpenAI's form, and gives those that may go out.

    `check` is asked about texts, `check_opening` about the beginning of an answer, where it has to be about certain
    topics. When `feed` or `end` raises, `unsent` holds the chunks that may go out before the error.
    """

    def __init__(
        self,
        check: Check,
        window: Window,
        *,
        check_opening: Check | None = None,
        usage: Callable[[], Usage] = Usage,
    ) -> None:
        self.unsent: list[Document] = []
        self._check = check
        self._check_opening = check_opening
        self._window = window
        self._usage = usage
        self._choices: dict[int, _Choice] = {}
        self._without_choice: list[Document] = []

    async def feed(self, chunk: Document) -> list[Document]:
        """The chunks that may go out now that this one is there.

        Raises:
            GuardrailTriggered: the answer must not go on.
            GuardrailsUnavailable: it could not be checked.
        """
        choices = [one for one in chunk.get("choices") or () if isinstance(one, dict)]
        if not choices:
            self._without_choice.append(chunk)
        for at, choice in enumerate(choices):
            single = {**chunk, "choices": [choice]}
            if at + 1 < len(choices):
                single.pop("usage", None)
            index = choice.get("index")
            await self._take(single, index if isinstance(index, int) else at)
        return self._gone_out()

    async def end(self) -> list[Document]:
        """The chunks that are left when the stream has ended; raises as `feed`."""
        for index, choice in self._choices.items():
            await self._clear(choice, index, final=True)
            self._release(choice)
        return self._gone_out()

    async def _take(self, chunk: Document, index: int) -> None:
        choice = self._choices.setdefault(index, _Choice())
        said: Document = chunk["choices"][0]
        parts = []
        for key in ("delta", "text"):
            for path, text in texts_in(said.get(key), ("choices", 0, key)):
                channel = self._channel(choice, said, path)
                start = channel.end
                channel.text += text
                parts.append(_Part(channel, start, channel.end, path))
        choice.chunks.append((chunk, parts))
        await self._clear(choice, index, final=said.get("finish_reason") is not None)
        self._release(choice)

    def _channel(self, choice: _Choice, said: Document, path: Path) -> _Channel:
        """The channel of a text: tool calls and parts are told apart by the index that they say."""
        key: list[str | int] = []
        value: Any = said
        for step in path[2:]:
            value = value[step]
            own = value.get("index") if isinstance(step, int) and isinstance(value, dict) else None
            key.append(own if isinstance(own, int) else step)
        channel = choice.channels.get(tuple(key))
        if channel is None:
            channel = _Channel(whole=key[-1] == JSON_TEXT, opens=key[-1] in _ANSWER_KEYS)
            choice.channels[tuple(key)] = channel
        return channel

    async def _clear(self, choice: _Choice, index: int, *, final: bool) -> None:
        for channel in choice.channels.values():
            if channel.whole:
                if final and channel.cleared < channel.end:
                    await self._clear_arguments(choice, channel, index)
            else:
                await self._clear_text(choice, channel, index, final=final)

    async def _clear_text(self, choice: _Choice, channel: _Channel, index: int, *, final: bool) -> None:
        window = self._window
        enough = channel.end - channel.cleared >= window.held + window.step
        new = channel.end - channel.checked >= window.step
        if channel.end == channel.cleared or not (final or (enough and new)):
            return
        if channel.opens and window.opening and self._check_opening is not None:
            if not final and channel.end < window.opening:
                return
            self._pass(await self._check_opening([channel.text], index))
            channel.opens = False
        known = channel.end if final else channel.base + _last_break(channel.text, channel.cleared - channel.base)
        if known <= channel.cleared:
            return
        channel.checked = channel.end
        shown = channel.text[: known - channel.base]
        verdict = self._pass(await self._check([shown], index))
        spans = [
            Span(max(span.start + channel.base, channel.cleared), span.end + channel.base, span.label)
            for span in verdict.findings[0].spans
            if span.end + channel.base > channel.cleared
        ]
        to = known if final else channel.base + _last_break(shown[: -window.held], channel.cleared - channel.base)
        for span in reversed(spans):
            if span.start < to < span.end:
                to = span.start
        to = max(to, channel.cleared)
        kept = [span for span in spans if span.end <= to]
        choice.masked = choice.masked or bool(kept)
        channel.spans += kept
        channel.cleared = to

    async def _clear_arguments(self, choice: _Choice, channel: _Channel, index: int) -> None:
        places = argument_texts(channel.text)
        texts = [channel.text] if places is None else [text for _, text in places]
        if texts:
            verdict = self._pass(await self._check(texts, index))
            if verdict.pii_detected:
                choice.masked = True
                channel.replacement = (
                    verdict.masked[0]
                    if places is None
                    else arguments_with_texts(
                        channel.text, [(path, text) for (path, _), text in zip(places, verdict.masked, strict=True)]
                    )
                )
        channel.cleared = channel.end

    def _pass(self, verdict: Verdict) -> Verdict:
        if verdict.refused:
            raise verdict.triggered(self._usage())
        return verdict

    def _release(self, choice: _Choice) -> None:
        while choice.chunks and all(part.end <= part.channel.cleared for part in choice.chunks[0][1]):
            self.unsent.append(_outgoing(*choice.chunks.popleft(), masked=choice.masked))
        needed: dict[int, int] = {}
        for _, parts in choice.chunks:
            for part in parts:
                needed.setdefault(id(part.channel), part.start)
        for channel in choice.channels.values():
            if not channel.whole:
                channel.forget(needed.get(id(channel), channel.end), self._window.context)

    def _gone_out(self) -> list[Document]:
        if not any(choice.chunks for choice in self._choices.values()):
            self.unsent += self._without_choice
            self._without_choice = []
        out, self.unsent = self.unsent, []
        return out


class _Said(NamedTuple):
    """What a model said, as a client checks it."""

    text: str
    role: str
    group: int


def guarded_stream(
    client: GuardrailClient, parameters: GuardrailParameters, usage: Callable[[], Usage] = Usage
) -> GuardedStream:
    """A stream that is checked for what `parameters` say about output.

    `usage` is asked when the answer is refused, for the document that says so.
    """

    def checking(what: GuardrailParameters) -> Check:
        async def check(texts: Sequence[str], choice: int) -> Verdict:
            return await client.check(Direction.OUTPUT, what, [_Said(text, "assistant", choice) for text in texts])

        return check

    topics = parameters.model_copy(update={"safety": None, "pii": None, "invalid_keywords": None})
    others = parameters.model_copy(update={"valid_topics": None})
    opening = checking(topics) if parameters.valid_topics else None
    return GuardedStream(checking(others), Window.of(parameters), check_opening=opening, usage=usage)


def _outgoing(chunk: Document, parts: Sequence[_Part], *, masked: bool) -> Document:
    """The chunk with what goes out in the place of its texts. `masked`: something of its choice was."""
    for part in parts:
        chunk = replaced(chunk, part.path, part.channel.outgoing(part.start, part.end))
    choice = chunk["choices"][0]
    if masked and choice.get("logprobs") is not None:
        # They have the text once more, token by token.
        chunk = replaced(chunk, ("choices", 0, "logprobs"), None)
    if masked and choice.get("finish_reason") is not None:
        chunk = {**chunk, "output_guardrail": [{"pii_detection": True}]}
    return chunk


def _last_break(text: str, after: int) -> int:
    """The last place at which no identifier or word goes on; `after` when there is none behind it.

    A run without one cannot be waited for for ever: its end counts.
    """
    for place in range(len(text), after, -1):
        if len(text) - place > _LONGEST_RUN:
            return len(text)
        if text[place - 1].isspace() or not _goes_on(text[place - 1]):
            return place
    return after


def _goes_on(character: str) -> bool:
    """Whether a word or an identifier may go on behind it. All of ASCII but white space may stand in one."""
    return character.isascii() or (is_in_word(character) and not is_unspaced(character))
