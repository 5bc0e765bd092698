"""Upstreams of external models: the fake provider of the tests, and MLflow's own gateway to compare with."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.processes import BenchmarkFailed, free_port, own_environment, running, wait_for_answer

_ROOT = Path(__file__).resolve().parents[1]
_ENVIRONMENTS = _ROOT / "var" / "benchmarks"
_START_SECONDS = 60.0
_INSTALL_SECONDS = 300.0
CHUNKS = 50
OPENAI_KEY = "sk-fake-openai"
ANTHROPIC_KEY = "sk-ant-fake"
MESSAGES = [{"role": "user", "content": "Which is the largest city on the shore of that lake?"}]
MAX_TOKENS = 50


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """The fake provider by its URL, without a path. OpenAI's chat is answered at once, streams have 50 chunks."""

    url: str

    def slow(self, seconds: float) -> None:
        """Let a stream of 50 chunks take that long."""
        self._tell(instant=False, chunks=CHUNKS, chunk_delay=seconds / CHUNKS, reset=True)

    def most_at_once(self) -> int:
        """How many requests it has had open at the same time since it was made slow."""
        return int(httpx.get(f"{self.url}/_counts", trust_env=False).json()["max_open"])

    def anthropic_answer(self, *, stream: bool) -> bytes:
        """What it answers in Anthropic's dialect, with 50 chunks."""
        self._tell(chunks=CHUNKS)
        body = {"model": "claude-sonnet-4-5", "messages": MESSAGES, "max_tokens": MAX_TOKENS, "stream": stream}
        headers = {"x-api-key": ANTHROPIC_KEY, "anthropic-version": "2023-06-01"}
        answer = httpx.post(f"{self.url}/v1/messages", json=body, headers=headers, trust_env=False)
        if not answer.is_success:
            raise BenchmarkFailed(f"the fake provider refuses a message: {answer.text[:500]}")
        return answer.content

    def _tell(self, **script: Any) -> None:
        told = httpx.post(f"{self.url}/_control", json=script, trust_env=False)
        if not told.is_success:
            raise BenchmarkFailed(f"the fake provider refuses its script: {told.text[:500]}")


@contextlib.contextmanager
def fake_provider(bench: Bench) -> Iterator[FakeProvider]:
    """The fake provider in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "fake_provider", "--port", str(port), "--instant"]
    log = bench.folder / "fake-provider.log"
    with running(command, log, own_environment({"PYTHONPATH": str(_ROOT / "tests")})) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for_answer(process, log, f"{url}/_counts", _START_SECONDS)
        yield FakeProvider(url)


@contextlib.contextmanager
def canned_anthropic(bench: Bench, fake: FakeProvider) -> Iterator[str]:
    """The URL of a server that repeats what the fake provider answers in Anthropic's dialect, at no cost."""
    files = {}
    for name, stream in (("BENCHMARK_ANSWER", False), ("BENCHMARK_EVENTS", True)):
        path = bench.folder / f"anthropic-{name.lower()}"
        path.write_bytes(fake.anthropic_answer(stream=stream))
        files[name] = str(path)
    canned = peers.uvicorn(bench.folder, "benchmarks.baselines.canned_provider:app", files, 1, "/v1/messages")
    with canned as (url, _):
        yield url


@contextlib.contextmanager
def mlflow_gateway(bench: Bench, fake: FakeProvider, workers: int) -> Iterator[str]:
    """The URL of a chat endpoint of `mlflow gateway start`; its provider is OpenAI, at the fake provider's address.

    Raises:
        BenchmarkFailed: it cannot be installed, or does not answer.
    """
    programs = _mlflow_gateway_environment() / "bin"
    port = free_port()
    model = {"provider": "openai", "name": "gpt-4o"}
    keys = {"openai_api_key": OPENAI_KEY, "openai_api_base": f"{fake.url}/v1"}
    endpoint = {"name": "chat", "endpoint_type": "llm/v1/chat", "model": {**model, "config": keys}}
    config = bench.folder / "mlflow-gateway.yaml"
    config.write_text(json.dumps({"endpoints": [endpoint]}))  # JSON is YAML too
    command = [str(programs / "mlflow"), "gateway", "start", "--config-path", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    environment = own_environment()
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    url = f"http://127.0.0.1:{port}/gateway/chat/invocations"
    log = bench.folder / "mlflow-gateway.log"
    with running(command, log, environment) as process:
        body = json.dumps({"messages": MESSAGES, "max_tokens": MAX_TOKENS}).encode()
        wait_for_answer(process, log, url, _START_SECONDS, body)
        yield url


def _mlflow_gateway_environment() -> Path:
    """A virtual environment with MLflow's gateway, made once: what it needs more is not for Moorage's own.

    Raises:
        BenchmarkFailed: it cannot be made.
    """
    version = metadata.version("mlflow")
    environment = _ENVIRONMENTS / f"mlflow-gateway-{version}"
    done = environment / "done"
    if done.exists():
        return environment
    uv = str(Path(sys.executable).parent / "uv")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(environment), f"mlflow[gateway]=={version}"],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise BenchmarkFailed(f"MLflow's gateway cannot be installed: {said.strip()[-500:]}") from error
    done.touch()
    return environment
