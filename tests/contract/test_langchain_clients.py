"""LangChain's `ChatDatabricks` and `DatabricksEmbeddings`, and Databricks' client of OpenAI, against the server.

They want an older NumPy than the rest of the tests, so they run in an environment of their own, which is made when it
is first needed (from the package index, in half a minute) and kept in pytest's cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from external_endpoints import ExternalEndpoints
from fake_provider.running import running_fake_provider
from fake_provider.vectors import vector
from server import Server
from uv import find_uv_bin

REQUIREMENTS = ("databricks-langchain==0.22.0", "databricks-openai==0.17.1")
SCRIPT = Path(__file__).resolve().parents[1] / "langchain_clients.py"
MAKE_SECONDS = 240
RUN_SECONDS = 120
SAID = "tell me of the sea"
ANSWER = f"You said: {SAID}"
CALLED = [["get_weather", {"city": "city", "days": 7}, True]]
TRIP = {"title": "title", "days": 7}
CHATS = {"openai": "openai", "anthropic": "claude", "bedrock": "bedrock", "palm": "palm"}
"""Ways, and names for their endpoints: what is named after Claude gets other messages from these clients."""

pytestmark = pytest.mark.timeout(2 * MAKE_SECONDS + 2 * RUN_SECONDS)

ways = pytest.mark.parametrize("way", CHATS)


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of the environment; fails loudly where that cannot be made."""
    wanted = "\n".join((sys.version, *REQUIREMENTS))
    root = request.config.cache.mkdir(f"clients-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}")
    folder = Path(root) / "venv"
    ready = Path(root) / "ready"
    with (Path(root) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            ready.touch()
    return folder / "bin" / "python"


def make(folder: Path) -> None:
    uv = find_uv_bin()
    interpreter = folder / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(interpreter), *REQUIREMENTS],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False)
        if ran.returncode != 0:
            pytest.fail(f"the environment of the clients cannot be made: {' '.join(command)}\n{ran.stderr}")


@pytest.fixture(scope="module")
def said(server: Server, python: Path) -> Iterator[dict[str, Any]]:
    """What the clients were answered, by way; all are asked side by side, since to import them takes longest."""
    with running_fake_provider() as fake:
        endpoints = ExternalEndpoints(server, fake.url, "langchain")
        try:
            embeddings = endpoints.embeddings("openai")
            names = {way: endpoints.named(name, endpoints.way(way)) for way, name in CHATS.items()}
            with ThreadPoolExecutor(2) as pool:
                answers = pool.map(lambda name: run(server, python, name, embeddings), names.values())
                found = dict(zip(names, answers, strict=True))
            yield found
        finally:
            endpoints.remove()


def run(server: Server, python: Path, chat: str, embeddings: str) -> Any:
    others = ("DATABRICKS_", "MLFLOW_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    ran = subprocess.run(
        [str(python), str(SCRIPT), chat, embeddings],
        capture_output=True, text=True, timeout=RUN_SECONDS, env={**kept, **server.env}, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-6000:]
    return json.loads(ran.stdout)


def test_no_framework_of_gigabytes_comes_along(python: Path) -> None:
    listed = subprocess.run(
        [find_uv_bin(), "pip", "freeze", "--python", str(python)], capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0] for line in listed.stdout.splitlines()}
    assert names >= {"databricks-langchain", "databricks-openai"}
    assert not names & {"torch", "tensorflow", "jax"}


@ways
@pytest.mark.parametrize("form", ["chat", "responses"])
def test_langchain_invokes_and_streams(said: dict[str, Any], way: str, form: str) -> None:
    """By chat completions, and with `use_responses_api`."""
    found = said[way][form]
    assert (found["invoked"], found["streamed"]) == (ANSWER, ANSWER)
    assert found["pieces"] > 1
    for usage in (found["usage"], found["streamed_usage"]):
        assert usage["output_tokens"] == len(ANSWER) // 2
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@ways
@pytest.mark.parametrize("form", ["chat", "responses"])
def test_langchain_calls_tools_and_sends_their_results_back(said: dict[str, Any], way: str, form: str) -> None:
    found = said[way][form]
    assert found["calls"] == CALLED
    assert found["streamed_calls"] == CALLED
    assert found["answered"] == "The tool said: 17 degrees in city for 7 days"


@ways
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_is_answered_by_a_schema(said: dict[str, Any], way: str, method: str) -> None:
    assert said[way]["structured"][method] == TRIP


@ways
def test_the_asynchronous_clients_are_answered(said: dict[str, Any], way: str) -> None:
    assert said[way]["asynchronous"] == {"invoked": ANSWER, "streamed": ANSWER, "openai": ANSWER}


@ways
def test_databricks_client_of_openai_is_answered(said: dict[str, Any], way: str) -> None:
    found = said[way]["openai"]
    assert (found["chat"], found["streamed"], found["response"]) == (ANSWER, ANSWER, ANSWER)
    assert len(found["deltas"]) > 1
    assert "".join(found["deltas"]) == ANSWER


@ways
def test_langchain_embeds_queries_and_documents(said: dict[str, Any], way: str) -> None:
    assert said[way]["query"] == vector("a text", 8)
    assert said[way]["documents"] == [vector("one", 8), vector("two", 8)]
