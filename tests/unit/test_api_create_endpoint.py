"""Which bodies create an endpoint, what they mean, and what a refused one is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from moorage.api.endpoints import CreateEndpoint
from moorage.api.errors import ApiError
from moorage.api.served_entities import CustomModelSpec, EntityKind
from moorage.api.validation import error_from
from moorage.api.workloads import ConcurrencyRange, WorkloadType


def entity(**fields: Any) -> dict[str, Any]:
    return {"entity_name": "ads1", "entity_version": "1", **fields}


def body(*entities: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"name": "ads", "config": {"served_entities": list(entities or [entity()]), **config}}


def parse(document: Any) -> CreateEndpoint:
    return CreateEndpoint.model_validate(document)


def error_of(document: Any) -> ApiError:
    with pytest.raises(ValidationError) as caught:
        parse(document)
    return error_from(caught.value.errors())


def spec(**fields: Any) -> CustomModelSpec:
    config = parse(body(entity(**fields))).config
    assert config is not None
    return CustomModelSpec.of(config.entities[0])


def route(name: str, percentage: Any) -> dict[str, Any]:
    return {"served_model_name": name, "traffic_percentage": percentage}


def test_the_least_body_gets_every_default() -> None:
    request = parse(body())
    assert request.config is not None
    assert request.config.traffic.model_dump() == {
        "routes": ({"served_model_name": "ads1-1", "served_entity_name": "ads1-1", "traffic_percentage": 100},)
    }
    assert spec().model_dump(mode="json", exclude_none=True) == {
        "name": "ads1-1",
        "entity_name": "ads1",
        "entity_version": "1",
        "workload_size": "Small",
        "workload_type": "CPU",
        "scale_to_zero_enabled": False,
        "burst_scaling_enabled": True,
        "environment_vars": {},
    }
    assert (request.description, request.tags, request.route_optimized) == ("", (), False)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "ads1-1"),
        ({"entity_name": "prod.ml.fraud", "entity_version": 7}, "fraud-7"),
        ({"entity_name": "my model (v2)"}, "my-model--v2--1"),
        ({"entity_name": "m" * 80, "entity_version": "12"}, "m" * 60 + "-12"),
        ({"name": "current"}, "current"),
        ({"name": None}, "ads1-1"),
    ],
)
def test_served_names(fields: dict[str, Any], name: str) -> None:
    assert spec(**fields).name == name


def test_an_external_model_is_named_after_itself() -> None:
    config = parse(body(external())).config
    assert config is not None
    assert config.entities[0].served_name == "gpt-4-1"
    assert config.kind is EntityKind.EXTERNAL_MODEL


@pytest.mark.parametrize(
    ("fields", "low", "high"),
    [
        ({}, 4, 4),
        ({"workload_size": "Medium"}, 8, 16),
        ({"workload_size": "Large"}, 16, 64),
        ({"workload_size": "Large", "scale_to_zero_enabled": "true"}, 0, 64),
        ({"min_provisioned_concurrency": "8", "max_provisioned_concurrency": 24}, 8, 24),
        (
            {
                "min_provisioned_concurrency": 0,
                "max_provisioned_concurrency": 4,
                "scale_to_zero_enabled": True,
            },
            0,
            4,
        ),
    ],
)
def test_concurrency_of_sizes(fields: dict[str, Any], low: int, high: int) -> None:
    assert spec(**fields).concurrency == ConcurrencyRange(low, high)


def test_explicit_concurrency_leaves_the_size_out() -> None:
    assert spec(min_provisioned_concurrency=4, max_provisioned_concurrency=8).workload_size is None


@pytest.mark.parametrize("workload", list(WorkloadType))
def test_every_workload_type_is_taken(workload: WorkloadType) -> None:
    assert spec(workload_type=workload.value).workload_type is workload
    assert workload.needs_gpu == ("GPU" in workload.value)


def test_numbers_and_booleans_may_be_text_and_unknown_fields_are_ignored() -> None:
    request = parse(
        {
            "name": "ads",
            "color": "red",
            "route_optimized": "true",
            "config": {
                "name": "ads",
                "served_models": [
                    {"model_name": "ads1", "model_version": 1, "scale_to_zero_enabled": "false", "x": 1},
                    {"name": "new", "model_name": "ads1", "model_version": "2", "scale_to_zero_enabled": "true"},
                ],
                "traffic_config": {"routes": [route("ads1-1", "90"), route("new", "10")]},
            },
            "rate_limits": [{"calls": "5", "renewal_period": "minute"}],
        }
    )
    assert request.config is not None
    assert [e.scale_to_zero_enabled for e in request.config.entities] == [False, True]
    assert [r.traffic_percentage for r in request.config.traffic.routes] == [90, 10]
    assert request.route_optimized
    assert request.rate_limits is not None
    assert request.rate_limits[0].calls == 5


def test_an_explicit_null_is_an_absent_field() -> None:
    document = {
        "name": "ads",
        "description": None,
        "tags": None,
        "ai_gateway": None,
        "route_optimized": None,
        "config": {
            "served_models": None,
            "traffic_config": None,
            "served_entities": [
                entity(workload_size=None, environment_vars={"A": "1", "B": None}, external_model=None)
            ],
        },
    }
    config = parse(document).config
    assert config is not None
    assert config.entities[0].environment_vars == {"A": "1"}


def test_an_endpoint_may_have_no_config() -> None:
    assert parse({"name": "ads"}).config is None


def test_a_share_may_be_zero_and_an_entity_without_one() -> None:
    entities = (entity(name="a"), entity(name="b"), entity(name="c"))
    config = parse(body(*entities, traffic_config={"routes": [route("a", 100), route("b", 0)]})).config
    assert config is not None
    assert [(r.served_entity_name, r.traffic_percentage) for r in config.traffic.routes] == [("a", 100), ("b", 0)]


E0 = "config.served_entities[0]"
TWO = (entity(name="a"), entity(name="b"))
INVALID = [
    ({}, "Missing required field 'name'"),
    ({"name": None}, "Missing required field 'name'"),
    ({"name": ""}, "'name': must be 1 to 63 characters"),
    ({"name": "a" * 64}, "'name': must be 1 to 63 characters"),
    ({"name": "a/b"}, "'name': must be 1 to 63 characters"),
    ({"name": "ä"}, "'name': must be 1 to 63 characters"),
    ({"name": "a\n"}, "'name': must be 1 to 63 characters"),
    ({"name": "databricks-llama"}, "'name': must not start with 'databricks-'"),
    ({"name": "a", "description": "x" * 1001}, "'description': must have at most 1000 characters"),
    ({"name": "a", "description": "x\x00"}, "'description': must not contain a NUL"),
    ({"name": "a", "config": {}}, "'config': 'served_entities' must hold at least one"),
    ({"name": "a", "config": {"served_entities": []}}, "must hold at least one served entity"),
    (
        {
            "name": "a",
            "config": {
                "served_entities": [entity()],
                "served_models": [{"model_name": "m", "model_version": "1", "scale_to_zero_enabled": True}],
            },
        },
        "either 'served_entities' or the older 'served_models'",
    ),
    (
        {"name": "a", "config": {"served_models": [{"model_name": "m", "model_version": "1"}]}},
        "Missing required field 'config.served_models[0].scale_to_zero_enabled'",
    ),
    (body({"entity_version": "1"}), f"Missing required field '{E0}.entity_name'"),
    (body({"entity_name": "m"}), f"Missing required field '{E0}.entity_version'"),
    (body(entity(entity_name="a/b")), f"'{E0}.entity_name': must be a registered model's name"),
    (body(entity(entity_name="a:b")), f"'{E0}.entity_name': must be a registered model's name"),
    (body(entity(entity_name="a..b")), f"'{E0}.entity_name': must not have an empty level"),
    (body(entity(entity_name="")), f"'{E0}.entity_name': must have at least 1 characters"),
    (body(entity(entity_version="latest")), f"'{E0}.entity_version': must be the number"),
    (body(entity(entity_version="0")), f"'{E0}.entity_version': must be the number"),
    (body(entity(entity_version="١")), f"'{E0}.entity_version': must be the number"),
    (body(entity(name="a b")), f"'{E0}.name': must be 1 to 63"),
    (body(entity(name="a" * 64)), f"'{E0}.name': must be 1 to 63"),
    (body(entity(workload_size="small")), f"'{E0}.workload_size': must be one of 'Small', 'Medium' or 'Large'"),
    (body(entity(workload_type="TPU")), f"'{E0}.workload_type': must be one of"),
    (
        body(entity(workload_size="Small", min_provisioned_concurrency=4, max_provisioned_concurrency=8)),
        "give either 'workload_size' or 'min_provisioned_concurrency'",
    ),
    (body(entity(min_provisioned_concurrency=4)), f"Missing required field '{E0}.max_provisioned_concurrency'"),
    (body(entity(max_provisioned_concurrency=4)), f"Missing required field '{E0}.min_provisioned_concurrency'"),
    (
        body(entity(min_provisioned_concurrency=6, max_provisioned_concurrency=8)),
        f"'{E0}.min_provisioned_concurrency': must be a multiple of 4",
    ),
    (
        body(entity(min_provisioned_concurrency=8, max_provisioned_concurrency=4)),
        "'max_provisioned_concurrency' must be at least",
    ),
    (
        body(entity(min_provisioned_concurrency=4, max_provisioned_concurrency=1028)),
        f"'{E0}.max_provisioned_concurrency': must be less than or equal to 1024",
    ),
    (
        body(entity(min_provisioned_concurrency=0, max_provisioned_concurrency=4)),
        "needs 'scale_to_zero_enabled' true",
    ),
    (
        body(entity(environment_vars={f"V{i}": "" for i in range(31)})),
        f"'{E0}.environment_vars': may hold at most 30 variables, 31 given",
    ),
    (body(entity(environment_vars={"1A": "x"})), "'1A' is no variable name"),
    (body(entity(environment_vars={"A=B": "x"})), "'A=B' is no variable name"),
    (body(entity(environment_vars={"A": "x\x00"})), f"'{E0}.environment_vars.A': must not contain a NUL"),
    (body(*(entity(name=f"e{i}") for i in range(16))), "at most 15 entities, 16 given"),
    (body(entity(), entity()), "names 'ads1-1' 2 times; each name must be unique"),
    (body(*TWO), "'traffic_config' is required with several served entities"),
    (body(*TWO, traffic_config={"routes": []}), "'traffic_config' is required with several served entities"),
    (
        body(*TWO, traffic_config={"routes": [route("a", 60), route("b", 30)]}),
        "must add up to 100, they add up to 90",
    ),
    (body(*TWO, traffic_config={"routes": [route("a", 50), route("c", 50)]}), "routes to 'c', which is no served"),
    (body(*TWO, traffic_config={"routes": [route("a", 50), route("a", 50)]}), "names 'a' 2 times"),
    (
        body(traffic_config={"routes": [{"traffic_percentage": 100}]}),
        "Missing required field 'config.traffic_config.routes[0].served_entity_name'",
    ),
    (
        body(traffic_config={"routes": [{"served_entity_name": "ads1-1"}]}),
        "Missing required field 'config.traffic_config.routes[0].traffic_percentage'",
    ),
    (
        body(traffic_config={"routes": [{**route("ads1-1", 100), "served_entity_name": "x"}]}),
        "must be equal when both are given",
    ),
    (body(traffic_config={"routes": [route("ads1-1", 101)]}), "must be less than or equal to 100"),
    (body(traffic_config={"routes": [route("ads1-1", -1)]}), "must be greater than or equal to 0"),
    (
        body(auto_capture_config={"schema_name": "s"}),
        "Missing required field 'config.auto_capture_config.catalog_name'",
    ),
    (
        body(auto_capture_config={"catalog_name": "../etc", "schema_name": "s"}),
        "'config.auto_capture_config.catalog_name': must be 1 to 255 characters without",
    ),
    ({"name": "a", "tags": [{"value": "x"}]}, "Missing required field 'tags[0].key'"),
    ({"name": "a", "tags": [{"key": ""}]}, "'tags[0].key': must have at least 1"),
    ({"name": "a", "tags": [{"key": "k" * 128}]}, "'tags[0].key': must have at most 127"),
    ({"name": "a", "tags": [{"key": "k", "value": "v" * 256}]}, "'tags[0].value': must have at most 255"),
    ({"name": "a", "tags": [{"key": f"k{i}"} for i in range(21)]}, "at most 20 tags, 21 given"),
    ({"name": "a", "tags": [{"key": "k"}, {"key": "k"}]}, "has the key 'k' 2 times"),
    (
        {"name": "a", "email_notifications": {"on_update_failure": ["nobody"]}},
        "'email_notifications.on_update_failure[0]': must be an e-mail address",
    ),
    ({"name": "a", "rate_limits": [{"renewal_period": "minute"}]}, "Missing required field 'rate_limits[0].calls'"),
    ({"name": "a", "rate_limits": [{"calls": 1, "renewal_period": "hour"}]}, "must be one of 'minute'"),
    (
        {"name": "a", "telemetry_config": {"enabled_telemetry_features": ["LOGS"]}},
        "'telemetry_config.enabled_telemetry_features[0]': must be one of",
    ),
    (
        {"name": "a", "telemetry_config": {"inference_table_config": {"sampling_fraction": float("nan")}}},
        "sampling_fraction': must be",
    ),
    ({**body(), "ai_gateway": {"guardrails": {"input": {"safety": True}}}}, "'ai_gateway.guardrails' is not for"),
    ({**body(), "ai_gateway": {"fallback_config": {"enabled": True}}}, "'ai_gateway.fallback_config' is not for"),
]


@pytest.mark.parametrize(("document", "message"), INVALID)
def test_a_broken_rule_is_named(document: dict[str, Any], message: str) -> None:
    error = error_of(document)
    assert message in error.message
    assert (error.status, error.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "Expected an object but got an array"),
        ("x", "Expected an object but got a string"),
        (None, "Expected an object but got null"),
        ({"name": 5}, "Expected a string in field 'name' but got a number"),
        ({"name": "a", "config": []}, "Expected an object in field 'config' but got an array"),
        ({"name": "a", "tags": "x"}, "Expected an array in field 'tags' but got a string"),
        (body("ads1"), f"Expected an object in field '{E0}' but got a string"),
        (body(entity(entity_version=1.5)), f"Expected a string in field '{E0}.entity_version' but got a number"),
        (body(entity(entity_version=True)), f"Expected a string in field '{E0}.entity_version' but got a boolean"),
        (body(entity(scale_to_zero_enabled="maybe")), "Expected a boolean in field"),
        (body(entity(environment_vars=["A"])), f"Expected an object in field '{E0}.environment_vars'"),
        (body(entity(environment_vars={"A": 1})), f"Expected a string in field '{E0}.environment_vars.A'"),
        (body(traffic_config={"routes": [route("ads1-1", "all")]}), "traffic_percentage' but got a string"),
        (body(traffic_config={"routes": [route("ads1-1", 99.5)]}), "Expected an integer in field"),
        (body(traffic_config={"routes": [route("ads1-1", True)]}), "but got a boolean"),
        (body(entity(provisioned_model_units=float("inf"))), "Expected a finite number in field"),
        ({"name": "a", "description": "\ud800"}, "Expected valid Unicode text in field 'description'"),
    ],
)
def test_a_wrong_type_is_named_with_its_field(document: Any, message: str) -> None:
    error = error_of(document)
    assert error.message.startswith("Could not parse request object: ")
    assert message in error.message
    assert (error.status, error.error_code) == (400, "BAD_REQUEST")


def external(**fields: Any) -> dict[str, Any]:
    model = {
        "name": "gpt-4.1",
        "provider": "openai",
        "task": "llm/v1/chat",
        "openai_config": {"openai_api_key": "{{secrets/llm/openai}}"},
    }
    return {"external_model": {**model, **fields}}


X = f"{E0}.external_model"


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([{**external(), "entity_name": "m"}], "'entity_name' does not go with 'external_model'"),
        ([{**external(), "scale_to_zero_enabled": False}], "'scale_to_zero_enabled' does not go with"),
        ([external(), entity()], "do not share an endpoint"),
        ([entity(), entity(name="pt", provisioned_model_units=50)], "do not share an endpoint"),
        ([{**external(), "name": "a"}, {**external(task="llm/v1/embeddings"), "name": "b"}], "the same 'task'"),
        ([external(provider="acme")], f"'{X}.provider': must be one of"),
        ([external(task="chat")], f"'{X}.task': must be one of"),
        ([external(provider="cohere")], "provider 'cohere' takes 'cohere_config', not 'openai_config'"),
        ([external(openai_config=None)], f"Missing required field '{X}.openai_config'"),
        ([external(openai_config={})], f"Missing required field '{X}.openai_config.openai_api_key'"),
        ([external(openai_config={"openai_api_key": "sk-1"})], "must be a secret reference"),
        (
            [external(openai_config={"openai_api_key": "{{secrets/a/b}}", "openai_api_key_plaintext": "sk-1"})],
            "give either 'openai_api_key' or 'openai_api_key_plaintext', not both",
        ),
        (
            [external(openai_config={"openai_api_type": "azure", "openai_api_key_plaintext": "k"})],
            f"Missing required field '{X}.openai_config.openai_api_base'",
        ),
        (
            [
                external(
                    provider="amazon-bedrock",
                    openai_config=None,
                    amazon_bedrock_config={"aws_region": "r", "bedrock_provider": "Anthropic"},
                )
            ],
            "give 'aws_access_key_id' and 'aws_secret_access_key'",
        ),
        (
            [
                external(
                    provider="custom",
                    openai_config=None,
                    custom_provider_config={"custom_provider_url": "https://x"},
                )
            ],
            "exactly one of 'api_key_auth' and 'bearer_token_auth'",
        ),
    ],
)
def test_external_models_are_checked(entities: list[dict[str, Any]], message: str) -> None:
    error = error_of(body(*entities))
    assert message in error.message
    assert error.error_code == "INVALID_PARAMETER_VALUE"


def test_route_optimisation_is_for_custom_models() -> None:
    error = error_of({**body(external()), "route_optimized": True})
    assert "'route_optimized' is only for endpoints of custom models" in error.message


def test_an_error_never_repeats_a_secret() -> None:
    secret = "sk-very-secret"
    error = error_of(body(external(openai_config={"openai_api_key": secret})))
    assert secret not in error.message
    request = parse(body(external(openai_config={"openai_api_key_plaintext": secret})))
    assert secret not in repr(request)


GATEWAY_LIMIT = {"calls": 1, "renewal_period": "minute"}


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        ({"rate_limits": [{"renewal_period": "minute"}]}, "exactly one of 'calls' and 'tokens'"),
        ({"rate_limits": [{**GATEWAY_LIMIT, "tokens": 1}]}, "exactly one of 'calls' and 'tokens'"),
        ({"rate_limits": [{**GATEWAY_LIMIT, "principal": "x"}]}, "'principal' does not go with key 'endpoint'"),
        ({"rate_limits": [{**GATEWAY_LIMIT, "key": "user_group"}]}, "field 'ai_gateway.rate_limits[0].principal'"),
        ({"rate_limits": [GATEWAY_LIMIT] * 21}, "'ai_gateway.rate_limits': must have at most 20 entries"),
        (
            {"rate_limits": [{**GATEWAY_LIMIT, "key": "user_group", "principal": f"g{i}"} for i in range(6)]},
            "at most 5 entries for user groups",
        ),
        ({"inference_table_config": {"enabled": True}}, "inference_table_config.catalog_name'"),
        ({"fallback_config": {}}, "Missing required field 'ai_gateway.fallback_config.enabled'"),
        ({"guardrails": {"input": {"pii": {"behavior": "HIDE"}}}}, "must be one of 'NONE', 'BLOCK' or 'MASK'"),
    ],
)
def test_the_ai_gateway_block_is_checked(gateway: dict[str, Any], message: str) -> None:
    error = error_of({"name": "a", "ai_gateway": gateway})
    assert message in error.message
    assert error.error_code == "INVALID_PARAMETER_VALUE"
