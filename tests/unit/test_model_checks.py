"""Model checks, with compute, registry and environments made up; a replica's socket is real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane
from test_reconciler import FakeBuilder, FakeCompute, running

from moorage.api.errors import RequestLimitExceeded, ResourceDoesNotExist, TemporarilyUnavailable
from moorage.api.model_checks import CreateModelCheck, ModelCheck
from moorage.compute.base import Interpreter, Memory, Observation, ReplicaPhase, ReplicaProcess, ReplicaSpec
from moorage.control.checks import service as service_module
from moorage.control.checks.run import discard_leftovers, in_words
from moorage.control.checks.service import ModelChecks
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment
from moorage.datadir import DataDirectory
from moorage.environments.advice import is_pinned
from moorage.registry.client import ModelVersion
from moorage.replica import frames

CHECKS = "/api/2.0/model-checks"
_PATIENCE = 10.0
EXAMPLE = b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}'
SIGNATURE = """signature:
  inputs: '[{"type": "long", "name": "a"}, {"type": "double", "name": "b"}]'
  outputs: '[{"type": "double"}]'
  params: '[{"name": "unit", "type": "string", "default": "m", "shape": null}]'
"""
PINNED = ("mlflow==3.1.0", "scikit-learn==1.5.0")


@dataclass
class Models:
    """A registry of one kind of model."""

    signature: str = SIGNATURE
    example: bytes | None = EXAMPLE
    requirements: tuple[str, ...] = PINNED
    conda: str = ""
    status: str = "READY"
    failure: Exception | None = None
    found: list[str] = field(default_factory=list)

    def model_version(self, name: str, version: str) -> ModelVersion:
        self.found.append(version)
        if self.failure is not None and len(self.found) > 1:  # the first question is the request's own
            raise self.failure
        return ModelVersion(name, version, self.status if len(self.found) > 1 else "READY", source="s")

    def download(self, name: str, version: str, destination: Path) -> Path:
        destination.mkdir(parents=True, exist_ok=True)  # two checks of one model may ask at once
        env = "{conda: conda.yaml}" if self.conda else "{virtualenv: python_env.yaml}"
        flavor = f"loader_module: mlflow.sklearn\n    env: {env}\n"
        (destination / "MLmodel").write_text(f"flavors:\n  python_function:\n    {flavor}{self.signature}")
        (destination / "requirements.txt").write_text("\n".join(self.requirements))
        if self.conda:
            (destination / "conda.yaml").write_text(self.conda)
        else:
            (destination / "python_env.yaml").write_text("python: 3.11.7\ndependencies: [-r requirements.txt]\n")
        if self.example is not None:
            (destination / "serving_input_example.json").write_bytes(self.example)
        return destination


Answering = Callable[[bytes], tuple[int, bytes] | None]


class Replicas(FakeCompute):
    """Replicas with a socket each. `answer` gives status and body; None closes the connection."""

    def __init__(self, folder: Path, answer: Answering = lambda body: (200, b'{"predictions": [1]}')) -> None:
        super().__init__()
        self.first_state = replace(self.first_state, fast_path="array")
        self.answer = answer
        self.asked: list[tuple[frames.RequestHead, bytes]] = []
        self.gate: asyncio.Event | None = None
        self._folder = folder
        self._servers: dict[str, asyncio.Server] = {}

    async def start_replica(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        if self.gate is not None:
            await self.gate.wait()
        process = await super().start_replica(spec, interpreter)
        address = str(self._folder / spec.replica_id)
        self._servers[spec.replica_id] = await asyncio.start_unix_server(self._serve, address)
        return replace(process, address=address)

    async def stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        self._servers.pop(replica.replica_id).close()
        await super().stop_replica(replica, drain_seconds)

    async def memory(self, replica: ReplicaProcess) -> Memory | None:
        return Memory(resident=300 * 1024 * 1024, own=50 * 1024 * 1024)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.Decoder()
        while data := await reader.read(4096):
            for _, stream, payload in decoder.feed(data):
                self.asked.append(frames.decode_request(payload))
                answer = self.answer(self.asked[-1][1])
                if answer is None:
                    writer.close()
                    return
                writer.write(frames.encode_response(stream, answer[0], 1, 10, 2000, answer[1]))
        writer.close()


@dataclass
class Checking:
    checks: ModelChecks
    compute: Replicas
    builder: FakeBuilder
    data: DataDirectory

    async def begin(self, caller: Any = ANN, **fields: Any) -> ModelCheck:
        body = {"entity_name": "ads1", "entity_version": "1", **fields}
        return await self.checks.create(caller, CreateModelCheck.model_validate(body))

    async def finish(self, **fields: Any) -> ModelCheck:
        started = await self.begin(**fields)
        await self.until(lambda: self.state(started.check_id) in ("SUCCEEDED", "FAILED"))
        return await self.checks.get(ANN, started.check_id)

    def state(self, check_id: str) -> str:
        return self.checks._checks[check_id].state

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110  other tasks' work
                await asyncio.sleep(0.005)

    def assert_nothing_is_left(self) -> None:
        assert self.compute.states == {}
        assert {spec.replica_id for spec in self.compute.started} == set(self.compute.stopped)
        assert list(self.data.deployments.iterdir()) == []


@asynccontextmanager
async def checking(
    plane: ControlPlane, models: Models | None = None, compute: Replicas | None = None, **settings: Any
) -> AsyncIterator[Checking]:
    folder = plane.data.root.parent
    compute = compute or Replicas(folder)
    async with running(plane, compute) as run:
        changed = run.context.settings.model_copy(update=settings)
        context = replace(run.context, registry=models or Models(), settings=changed)
        checks = ModelChecks(context)
        try:
            yield Checking(checks, compute, run.builder, plane.data)
        finally:
            await checks.close(_PATIENCE)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as one:
        yield one


def states(check: ModelCheck) -> dict[str, str]:
    return {step.name.value: step.state.value for step in check.steps}


def message(check: ModelCheck, name: str) -> str:
    return next(step.message for step in check.steps if step.name == name)


def failed_at(name: str) -> dict[str, str]:
    names = ["registry", "fetch", "environment", "load", "signature", "example", "batching"]
    place = names.index(name)
    return dict(zip(names, ["OK"] * place + ["FAILED"] + ["SKIPPED"] * (len(names) - place - 1), strict=True))


def test_a_good_model_passes_every_step_and_leaves_nothing(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            check = await run.finish(environment_vars={"MODE": "fast"})
            assert check.state == "SUCCEEDED"
            assert check.message == "ads1 version 1 can be served."
            assert set(states(check).values()) == {"OK"}
            figures = {step.name.value: step.figures for step in check.steps}
            assert figures["load"].load_seconds == 0.1
            assert (figures["load"].resident_bytes, figures["load"].own_bytes) == (300 * 1024**2, 50 * 1024**2)
            assert "300.0 MiB, 50.0 MiB of it for itself" in message(check, "load")
            example = figures["example"]
            assert (example.status, example.predict_seconds, example.response_bytes) == (200, 0.002, 20)
            assert figures["batching"].path == "array"
            assert figures["fetch"].reused is False
            assert figures["fetch"].size_bytes > len(EXAMPLE)
            assert message(check, "signature") == "The model takes 2 columns and 1 param, gives 1 column."
            assert "download model ads1 version 1" in check.build_log
            assert all(step.seconds is not None for step in check.steps)
            [(head, body)] = run.compute.asked
            assert (head.content_type, body) == ("application/json", EXAMPLE)
            assert run.compute.started[0].variables == {"MODE": "fast"}
            run.assert_nothing_is_left()
            with reading(plane.sessions) as session:
                assert session.query(Deployment).count() == 0
            again = await run.finish()
            assert next(step.figures for step in again.steps if step.name == "fetch").reused is True

    asyncio.run(scenario())


def test_a_model_that_does_not_load_fails_with_the_end_of_its_log(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.first_state = Observation(ReplicaPhase.FAILED, "ValueError: no weights")
            check = await run.finish()
            assert check.state == "FAILED"
            assert check.message == "ads1 version 1 cannot be served: it fails at 'load'."
            assert states(check) == failed_at("load")
            assert "ValueError: no weights" in message(check, "load")
            assert "Traceback: the last line" in message(check, "load")
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_a_model_that_loads_too_slowly_fails(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane, replica_load_timeout_seconds=0.05) as run:
            run.compute.first_state = Observation(ReplicaPhase.LOADING)
            check = await run.finish()
            assert states(check) == failed_at("load")
            assert "loading took longer than 0 s" in message(check, "load")
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_a_replica_that_cannot_be_started_fails_with_the_reason(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.refusal = "the template process did not start"
            check = await run.finish()
            assert states(check) == failed_at("load")
            assert message(check, "load") == "the template process did not start"
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_an_error_answer_to_the_example_fails_with_its_message_and_traceback(plane: ControlPlane) -> None:
    body = {"error_code": "BAD_REQUEST", "message": "no such column", "stack_trace": "Traceback ... KeyError: 'b'"}

    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.answer = lambda _: (400, json.dumps(body).encode())
            check = await run.finish()
            assert states(check) == failed_at("example")
            words = message(check, "example")
            assert "status 400: no such column" in words
            assert words.endswith("KeyError: 'b'")
            assert run.compute.asked[0][0].flags & frames.FLAG_STACK_TRACE
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_a_replica_that_ends_instead_of_answering_fails_the_example(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:

            def end(_: bytes) -> None:
                run.compute.kill(run.compute.started[0].replica_id)

            run.compute.answer = end
            check = await run.finish()
            assert states(check) == failed_at("example")
            assert "killed by SIGKILL" in message(check, "example")
            assert "Traceback: the last line" in message(check, "example")

    asyncio.run(scenario())


def test_a_model_that_does_not_answer_in_time_fails_the_example(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane, request_timeout_seconds=0.1) as run:
            silence = frames.encode(frames.HELLO, 1)  # a frame, but not the answer
            run.compute._serve = lambda reader, writer: writer.write(silence)  # type: ignore[method-assign]
            check = await run.finish()
            assert states(check) == failed_at("example")
            assert "within 0.1 s" in message(check, "example")
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_without_example_and_signature_the_model_passes_with_warnings(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane, Models(signature="", example=None)) as run:
            run.compute.first_state = replace(run.compute.first_state, fast_path=None, batching=False)
            check = await run.finish()
            assert check.state == "SUCCEEDED"
            assert states(check)["signature"] == "WARNING"
            assert states(check)["example"] == "SKIPPED"
            assert check.message == "ads1 version 1 can be served; see the warnings of 'signature'."
            assert next(step.figures for step in check.steps if step.name == "batching").path == "mlflow"
            assert run.compute.asked == []

    asyncio.run(scenario())


def test_an_example_over_the_limit_of_requests_is_not_sent(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane, max_request_bytes=10) as run:
            check = await run.finish()
            assert (check.state, states(check)["example"]) == ("SUCCEEDED", "WARNING")
            assert "limited to 10 bytes" in message(check, "example")
            assert run.compute.asked == []

    asyncio.run(scenario())


def test_batching_that_the_example_switches_off_is_a_warning(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.first_state = replace(run.compute.first_state, batching=False)
            assert states(await run.finish())["batching"] == "WARNING"

    asyncio.run(scenario())


def test_loose_requirements_and_old_conda_files_are_warnings(plane: ControlPlane) -> None:
    conda = """channels: [defaults]
dependencies: [python=3.11.7, numpy=1.26, {pip: [mlflow==3.1.0, "scikit-learn>=1.2", pandas]}]
"""

    async def scenario() -> None:
        async with checking(plane, Models(conda=conda)) as run:
            check = await run.finish()
            assert (check.state, states(check)["environment"]) == ("SUCCEEDED", "WARNING")
            words = message(check, "environment")
            assert "Not pinned to one version, so that a later build may differ: scikit-learn>=1.2, pandas." in words
            assert "not installed here: numpy=1.26" in words
            assert "'defaults'" in words

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("line", "pinned"),
    [
        ("six==1.17.0", True),
        ("six==1.17.0 --hash=sha256:00", True),
        ("six===1.17.0 ; python_version > '3'", True),
        ("six==1.*", False),
        ("six>=1.17.0", False),
        ("six", False),
        ("six @ https://example.com/six.whl", True),
        ("/models/m/six-1.17.0-py3-none-any.whl", True),
    ],
)
def test_a_requirement_is_pinned_when_only_one_version_satisfies_it(line: str, pinned: bool) -> None:
    assert is_pinned(line) is pinned


def test_an_environment_that_cannot_be_built_fails_with_the_reason(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.builder.failure = "nosuchpackage==1 was not found"
            check = await run.finish()
            assert states(check) == failed_at("environment")
            assert "nosuchpackage==1 was not found" in message(check, "environment")
            assert run.compute.started == []
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_hardware_that_is_not_here_fails_before_anything_is_built(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/dev/nvidiactl")

    async def scenario() -> None:
        async with checking(plane) as run:
            check = await run.finish(workload_type="GPU_SMALL")
            assert states(check) == failed_at("environment")
            assert "GPU_SMALL needs an NVIDIA GPU" in message(check, "environment")
            assert run.builder.builds == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (Models(failure=ResourceDoesNotExist("Version 1 is gone")), "Version 1 is gone"),
        (Models(failure=TemporarilyUnavailable("The model registry does not answer")), "does not answer"),
        (Models(status="FAILED_REGISTRATION"), "must have status READY"),
    ],
)
def test_a_version_that_is_lost_after_the_request_fails_at_the_registry(
    plane: ControlPlane, models: Models, words: str
) -> None:
    async def scenario() -> None:
        async with checking(plane, models) as run:
            check = await run.finish()
            assert states(check) == failed_at("registry")
            assert words in message(check, "registry")
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_an_unforeseen_failure_is_a_failed_step_without_details(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.builder.accident = RuntimeError("a password: hunter2")
            check = await run.finish()
            assert states(check) == failed_at("environment")
            assert message(check, "environment") == "The server failed: RuntimeError."
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_two_checks_run_at_once_and_the_third_waits_its_turn(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.builder.gate = asyncio.Event()
            first, second, third = [(await run.begin()).check_id for _ in range(3)]
            await run.until(lambda: run.builder.builds == 2)
            waiting = await run.checks.get(ANN, third)
            assert (waiting.state, waiting.message) == ("PENDING", "Waiting for other checks.")
            assert set(states(waiting).values()) == {"PENDING"}
            assert all(step.seconds is None for step in waiting.steps)
            building = await run.checks.get(ANN, first)
            assert building.state == "RUNNING"
            assert states(building)["environment"] == "RUNNING"
            await run.checks.delete(ANN, second)
            await run.until(lambda: run.builder.builds == 3)
            run.builder.gate.set()
            await run.until(lambda: run.state(first) == run.state(third) == "SUCCEEDED")
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_a_canceled_check_takes_its_replica_down_and_is_forgotten(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.first_state = Observation(ReplicaPhase.LOADING)
            started = await run.begin()
            await run.until(lambda: run.compute.started)
            await run.checks.delete(ANN, started.check_id)
            run.assert_nothing_is_left()
            with pytest.raises(ResourceDoesNotExist):
                await run.checks.get(ANN, started.check_id)

    asyncio.run(scenario())


def test_a_replica_whose_start_was_under_way_is_taken_down_too(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_CANCEL_SECONDS", 0.05)

    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.gate = asyncio.Event()
            started = await run.begin()
            await run.until(lambda: run.checks._checks[started.check_id].run._starting)
            await run.checks.delete(ANN, started.check_id)
            assert run.compute.started == []
            run.compute.gate.set()
            await run.until(lambda: run.compute.stopped)
            await run.checks.close(_PATIENCE)
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_closing_takes_everything_down(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            run.compute.first_state = Observation(ReplicaPhase.LOADING)
            for _ in range(3):
                await run.begin()
            await run.until(lambda: len(run.compute.started) == 2)
            await run.checks.close(_PATIENCE)
            assert len(run.compute.started) == 2
            run.assert_nothing_is_left()

    asyncio.run(scenario())


def test_a_check_is_its_creators_and_the_administrators(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with checking(plane) as run:
            check_id = (await run.finish()).check_id
            for call in (run.checks.get, run.checks.delete):
                with pytest.raises(ResourceDoesNotExist, match=f"Model check '{check_id}' not found"):
                    await call(BOB, check_id)
            assert (await run.checks.get(ADMIN, check_id)).creator == ANN.user_name
            await run.checks.delete(ADMIN, check_id)
            with pytest.raises(ResourceDoesNotExist):
                await run.checks.get(ANN, check_id)

    asyncio.run(scenario())


def test_only_the_newest_finished_checks_are_kept(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "_MOST_FINISHED", 2)

    async def scenario() -> None:
        async with checking(plane) as run:
            checks = [(await run.finish()).check_id for _ in range(4)]
            assert list(run.checks._checks) == checks[2:]

    asyncio.run(scenario())


def test_too_many_waiting_checks_are_refused(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "_MOST_WAITING", 1)

    async def scenario() -> None:
        async with checking(plane) as run:
            run.builder.gate = asyncio.Event()
            for wanted in (1, 2):
                await run.begin()
                await run.until(lambda wanted=wanted: run.builder.builds == wanted)
            await run.begin()
            with pytest.raises(RequestLimitExceeded, match="waiting already"):
                await run.begin()

    asyncio.run(scenario())


def test_the_folders_that_a_killed_control_plane_left_are_removed(plane: ControlPlane) -> None:
    kept, left = plane.data.deployment("0" * 32), plane.data.deployment("check-" + "1" * 32)
    for folder in (kept, left):
        folder.mkdir()
        (folder / "build.log").write_text("x")
    discard_leftovers(plane.data)
    assert list(plane.data.deployments.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 40, "5120.0 GiB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"entity_version": "1"}, 400, "Missing required field 'entity_name'"),
        ({"entity_name": "ads1"}, 400, "Missing required field 'entity_version'"),
        ({"entity_name": "a/b", "entity_version": "1"}, 400, "Invalid value for 'entity_name'"),
        ({"entity_name": "ads1", "entity_version": "latest"}, 400, "Invalid value for 'entity_version'"),
        ({"entity_name": "ads1", "entity_version": "1", "workload_type": "TPU"}, 400, "'workload_type'"),
        ({"entity_name": "ads1", "entity_version": "1", "environment_vars": {"1A": "x"}}, 400, "'environment_vars'"),
    ],
)
def test_a_wrong_request_is_refused_naming_the_field(
    plane: ControlPlane, body: dict[str, Any], status: int, words: str
) -> None:
    answer = plane.request("POST", CHECKS, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    "entity",
    [
        {"entity_name": "nosuch", "entity_version": "1"},
        {"entity_name": "ads1", "entity_version": "9"},
        {"entity_name": "ads1", "entity_version": "7"},
        {"entity_name": "ads1", "entity_version": "1", "environment_vars": {"KEY": "{{secrets/a/b}}"}},
    ],
)
def test_what_cannot_be_served_is_refused_as_create_refuses_it(plane: ControlPlane, entity: dict[str, Any]) -> None:
    plane.registry.add("ads1", "7", "PENDING_REGISTRATION")
    create = plane.request("POST", ENDPOINTS, json={"name": "x", "config": {"served_entities": [entity]}})
    check = plane.request("POST", CHECKS, json=entity)
    assert check.status_code in (400, 404)
    assert (check.status_code, check.json()) == (create.status_code, create.json())


def test_a_registry_that_is_away_refuses_the_check(plane: ControlPlane) -> None:
    plane.registry.failure = TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5)
    answer = plane.request("POST", CHECKS, json={"entity_name": "ads1", "entity_version": "1"})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_check_is_not_found(plane: ControlPlane, method: str) -> None:
    answer = plane.request(method, f"{CHECKS}/{'0' * 32}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
