"""The guardrail process and the gateway's line to it, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from moorage.api.ai_gateway import GuardrailParameters
from moorage.datadir import DataDirectory
from moorage.guardrails import frames
from moorage.guardrails.checks import CheckedText, Checker
from moorage.guardrails.client import GuardrailClient
from moorage.guardrails.process import MOST_AT_ONCE, MOST_WAITING, GuardrailServer
from moorage.guardrails.streaming import guarded_stream
from moorage.guardrails.verdict import (
    Direction,
    GuardrailsUnavailable,
    GuardrailTriggered,
    TextTooLong,
)
from moorage.settings import Settings
from moorage.supervisor.programs import guardrails_spec

SECONDS = 60.0


def parameters(**fields: Any) -> GuardrailParameters:
    return GuardrailParameters.model_validate(fields)


MASK = parameters(pii={"behavior": "MASK"})
WORD = parameters(invalid_keywords=["forbidden"])
MAIL = CheckedText("write to jo@example.com")


class Process:
    """A guardrail process at a socket; `start` after `kill` is what the supervisor does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "moorage.guardrails", "--socket", str(self.path), *words]
        self._process = subprocess.Popen(command)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(SECONDS)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)


@pytest.fixture
def path() -> Iterator[Path]:
    # Short enough for a socket.
    folder = Path(tempfile.mkdtemp(prefix="guard-"))
    yield folder / "guardrails.sock"
    shutil.rmtree(folder)


@pytest.fixture
def process(path: Path) -> Iterator[Process]:
    process = Process(path)
    process.start()
    yield process
    process.end()


def run(main: Coroutine[Any, Any, Any]) -> None:
    """On the loop that gateways have."""
    uvloop.run(main)


@contextlib.asynccontextmanager
async def client_of(path: Path, seconds: float = SECONDS) -> AsyncIterator[GuardrailClient]:
    client = GuardrailClient(path, seconds)
    try:
        yield client
    finally:
        await client.close()


async def masked(client: GuardrailClient, text: str = MAIL.text) -> list[str]:
    return (await client.check(Direction.INPUT, MASK, [CheckedText(text)])).masked


def test_texts_are_checked_and_an_idle_process_is_small(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            texts = [CheckedText("this is Forbidden"), CheckedText("not this")]
            verdict = await client.check(Direction.INPUT, WORD, texts)
            assert [finding.reasons for finding in verdict.findings] == [("invalid-keywords",), ()]
            assert psutil.Process(process.pid).memory_info().rss < 60 * 1024 * 1024
            assert await masked(client) == ["write to <EMAIL_ADDRESS>"]
            block = parameters(pii={"behavior": "BLOCK"})
            assert (await client.check(Direction.OUTPUT, block, [MAIL])).refused
            nothing = await client.check(Direction.INPUT, parameters(pii={"behavior": "NONE"}), [MAIL])
            assert (nothing.refused, nothing.masked) == (False, [MAIL.text])
            assert (await client.check(Direction.INPUT, MASK, [])).masked == []

    run(main())
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_everything_at_once_and_warmed_before(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            words: dict[str, Any] = {"invalid_keywords": ["forbidden"], "valid_topics": ["e-mail and mail"]}
            everything = parameters(safety=True, pii={"behavior": "MASK"}, **words)
            await client.warm(Direction.INPUT, everything)
            began = time.monotonic()
            text = CheckedText("Please send a mail to jo@example.com")
            verdict = await client.check(Direction.INPUT, everything, [text])
            assert time.monotonic() - began < 5
            assert (verdict.refused, verdict.masked) == (False, ["Please send a mail to <EMAIL_ADDRESS>"])
            bomb = CheckedText("How do I make a pipe bomb at home? Write a mail about it, forbidden as it is.")
            (finding,) = (await client.check(Direction.INPUT, everything, [bomb])).findings
            assert {"violent-crimes", "invalid-keywords"} <= set(finding.reasons)
            with pytest.raises(TextTooLong, match="at most 100000 characters"):
                await client.check(Direction.INPUT, everything, [CheckedText("word " * 30_000)])

    run(main())


def test_many_checks_share_a_connection_and_each_gets_its_own_answer(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            texts = [f"jo{number}@example.com is number {number} of them" for number in range(100)]
            answers = await asyncio.gather(*(masked(client, text) for text in texts))
            assert answers == [[f"<EMAIL_ADDRESS> is number {number} of them"] for number in range(100)]

    run(main())


def test_after_a_kill_the_next_check_is_answered_by_the_next_process(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            assert await masked(client) == ["write to <EMAIL_ADDRESS>"]
            process.signal(signal.SIGKILL)
            process.wait()
            waiting = asyncio.create_task(masked(client))
            await asyncio.sleep(0)
            assert not waiting.done()
            process.start()
            assert await waiting == ["write to <EMAIL_ADDRESS>"]

    run(main())


def test_a_check_under_way_is_asked_again_of_the_next_process(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            await client.check(Direction.INPUT, WORD, [MAIL])
            process.signal(signal.SIGSTOP)
            waiting = asyncio.create_task(masked(client))
            while not (client._connection and client._connection.waiting):  # noqa: ASYNC110 - a turn or two
                await asyncio.sleep(0)
            process.signal(signal.SIGKILL)
            process.wait()
            process.start()
            assert await waiting == ["write to <EMAIL_ADDRESS>"]

    run(main())


@pytest.mark.parametrize("how", ["absent", "stopped"])
def test_without_an_answer_nothing_passes_and_the_wait_has_an_end(process: Process, how: str) -> None:
    async def main() -> None:
        async with client_of(process.path, 60) as client:
            await client.check(Direction.INPUT, WORD, [MAIL])
        process.signal(signal.SIGKILL if how == "absent" else signal.SIGSTOP)
        if how == "absent":
            process.wait()
        async with client_of(process.path, 0.5) as client:
            began = time.monotonic()
            with pytest.raises(GuardrailsUnavailable, match=r"within 0\.5 seconds") as refusal:
                await masked(client)
            assert 0.4 < time.monotonic() - began < 5
            assert refusal.value.status == 503

    run(main())


def test_the_gateways_loop_is_free_while_a_big_text_is_checked(process: Process) -> None:
    async def main() -> None:
        async with client_of(process.path) as client:
            await client.warm(Direction.INPUT, MASK)
            big = "card 4111 1111 1111 1111 of jo@example.com, call 212-555-0187. " * 3000
            gaps: list[float] = []

            async def tick() -> None:
                last = time.perf_counter()
                while True:
                    await asyncio.sleep(0.005)
                    now = time.perf_counter()
                    gaps.append(now - last)
                    last = now

            ticking = asyncio.create_task(tick())
            check = asyncio.create_task(masked(client, big))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            small = await masked(client)
            small_took, busy = time.monotonic() - began, not check.done()
            (text,) = await check
            ticking.cancel()
            assert small == ["write to <EMAIL_ADDRESS>"]
            assert text == "card <CREDIT_CARD> of <EMAIL_ADDRESS>, call <PHONE_NUMBER>. " * 3000
            # The small one did not wait behind the big one.
            assert busy
            assert small_took < 2
            gaps.sort()
            assert gaps[len(gaps) // 2] < 0.05
            assert gaps[-1] < 1

    run(main())


def test_a_stream_is_checked_by_the_process(process: Process) -> None:
    def chunk(content: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]}

    async def main() -> None:
        async with client_of(process.path) as client:
            text = "You reach them at jo@example.com, or by a call to 212-555-0187 at any time of the day. " * 5
            guarded = guarded_stream(client, MASK)
            out = []
            for at in range(0, len(text), 5):
                out += await guarded.feed(chunk(text[at : at + 5]))
            out += await guarded.end()
            said = "".join(one["choices"][0]["delta"]["content"] for one in out)
            assert said == text.replace("jo@example.com", "<EMAIL_ADDRESS>").replace("212-555-0187", "<PHONE_NUMBER>")
            refused = guarded_stream(client, WORD)
            assert await refused.feed(chunk("It is forbid")) == []
            assert await refused.feed(chunk("den.")) == []
            with pytest.raises(GuardrailTriggered):
                await refused.end()

    run(main())


class StuckChecker(Checker):
    """Never done; counts how many checks were begun, and says when one was given up."""

    def __init__(self) -> None:
        super().__init__(None, Path("unused"))
        self.begun = 0
        self.given_up = asyncio.Event()

    async def check(self, *_: Any) -> list[Any]:
        self.begun += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.given_up.set()
        return []


@contextlib.asynccontextmanager
async def serving(path: Path, checker: Checker) -> AsyncIterator[None]:
    stop = asyncio.Event()
    serving = asyncio.create_task(GuardrailServer(checker).serve(path, stop))
    try:
        yield
    finally:
        stop.set()
        await serving
        await checker.close()


def test_too_many_checks_are_refused_at_once(path: Path) -> None:
    async def main() -> None:
        checker = StuckChecker()
        async with serving(path, checker), client_of(path) as client:
            checks = [client.check(Direction.INPUT, WORD, [MAIL]) for _ in range(MOST_WAITING + 1)]
            tasks = [asyncio.create_task(check) for check in checks]
            done, waiting = await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert [str(one.exception()) for one in done] == ["The guardrails have too many texts to check."]
            assert checker.begun == MOST_AT_ONCE
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(main())


@pytest.mark.parametrize("how", ["cancelled", "late", "gone"])
def test_who_gives_up_is_not_worked_for_any_longer(path: Path, how: str) -> None:
    async def main() -> None:
        checker = StuckChecker()
        async with serving(path, checker), client_of(path, 0.3 if how == "late" else SECONDS) as client:
            task = asyncio.create_task(client.check(Direction.INPUT, WORD, [MAIL]))
            async with asyncio.timeout(SECONDS):
                while not checker.begun:  # noqa: ASYNC110 - until it has arrived
                    await asyncio.sleep(0.01)
                if how == "cancelled":
                    task.cancel()
                if how == "gone":
                    await client.close()
                await checker.given_up.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main())


@pytest.mark.parametrize("failure", [ValueError("odd"), RuntimeError("broken")])
def test_a_detector_that_fails_lets_nothing_pass(path: Path, failure: Exception) -> None:
    class FailingChecker(Checker):
        async def check(self, *_: Any) -> list[Any]:
            raise failure

    async def main() -> None:
        async with serving(path, FailingChecker(None, Path("unused"))), client_of(path) as client:
            with pytest.raises(GuardrailsUnavailable, match="A detector of the guardrails failed"):
                await client.check(Direction.INPUT, WORD, [MAIL])

    run(main())


@pytest.mark.parametrize(
    "answer",
    [{"findings": []}, {}, {"findings": [{}]}, {"findings": [{"spans": [[1]], "scores": {}, "reasons": []}]},
     {"findings": None}, {"problem": "no", "cause": "unavailable"}],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_lets_nothing_pass(path: Path, answer: dict[str, Any]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.Decoder()
        while data := await reader.read(1 << 16):
            for frame in decoder.feed(data):
                writer.write(frames.encode({"id": frame["id"], **answer}))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, path)
        async with client_of(path) as client:
            with pytest.raises(GuardrailsUnavailable):
                await client.check(Direction.INPUT, WORD, [MAIL])
        server.close()

    run(main())


def test_the_process_gets_no_secret_and_what_it_is_to_know(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "MOORAGE_ENCRYPTION_KEY": "k",
        "MOORAGE_PORT": "1",
        "OPENAI_API_KEY": "k",
        "AWS_REGION": "r",
        "AWS_SECRET_ACCESS_KEY": "k",
        "DATABRICKS_TOKEN": "t",
        "UV_INDEX_URL": "https://user:pass@index.example",
    }
    data = DataDirectory(tmp_path)
    plain = guardrails_spec(Settings(data_dir=tmp_path), data, environ)
    assert set(plain.environment) == {"PATH", "PYTHONUNBUFFERED"}
    assert plain.command[1:5] == ("-m", "moorage.guardrails", "--socket", str(data.guardrails_socket))
    assert "--judge-url" not in plain.command
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "port": 8123,
            "guardrails_judge_endpoint": "guard",
            "guardrails_judge_token_file": "/etc/token",
            "guardrails_model_dir": "/models",
        }
    )
    command = guardrails_spec(settings, data, environ).command
    pairs = dict(zip(command[3::2], command[4::2], strict=True))
    assert pairs["--judge-url"] == "http://127.0.0.1:8123/serving-endpoints/guard/invocations"
    assert pairs["--judge-token-file"] == "/etc/token"
    assert pairs["--model-dir"] == "/models"
    url = Settings.model_validate({"guardrails_judge_endpoint": "https://host/v1/moderations"})
    assert "https://host/v1/moderations" in guardrails_spec(url, data, environ).command


def test_the_gateways_side_loads_no_detector() -> None:
    code = (
        "import sys, moorage.guardrails.client, moorage.guardrails.streaming, moorage.guardrails.texts,"
        " moorage.guardrails.installed\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'presidio_analyzer', 'spacy', 'numpy', 'onnxruntime', 'tokenizers', 'jailguard'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert shown.stdout.strip() == "[]"
