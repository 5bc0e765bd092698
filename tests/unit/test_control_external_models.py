"""Endpoints of external models through the API: what is accepted, shown, refused, and never told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENCRYPTION_KEY, ENDPOINTS, ControlPlane, control_plane, entity
from databricks.sdk.service import serving

from moorage.api.served_entities import ExternalModelSpec, stored_spec
from moorage.control.encryption_key import rotate_key, settle_key
from moorage.control.external_models import opened
from moorage.control.store.engine import make_sessions, open_database, reading
from moorage.control.store.models import Deployment, Endpoint, Notification
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption, key_text, parse_key
from moorage.guardrails import installed

TEXT = "sk-very-secret-0123456789"
REFERENCE = "{{secrets/my_scope/my_openai_api_key}}"
CHAT, COMPLETIONS, EMBEDDINGS = "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"
CONFIG = f"{ENDPOINTS}/llm/config"
AUDIT = "/api/2.0/audit-log"

# Every provider with all of its options; each credential as text.
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ai21labs": ("ai21labs_config", {"ai21labs_api_base": "https://p/a", "ai21labs_api_key_plaintext": TEXT}),
    "anthropic": ("anthropic_config", {"anthropic_api_base": "https://p/a", "anthropic_api_key_plaintext": TEXT}),
    "cohere": ("cohere_config", {"cohere_api_base": "http://127.0.0.1:9/v1", "cohere_api_key_plaintext": TEXT}),
    "palm": ("palm_config", {"palm_api_base": "https://p", "palm_api_key_plaintext": TEXT}),
    "databricks-model-serving": (
        "databricks_model_serving_config",
        {"databricks_workspace_url": "https://w.example.com", "databricks_api_token_plaintext": TEXT},
    ),
    "google-cloud-vertex-ai": (
        "google_cloud_vertex_ai_config",
        {"project_id": "p", "region": "us-east1", "vertex_api_base": "https://p", "private_key_plaintext": TEXT},
    ),
    "amazon-bedrock": (
        "amazon_bedrock_config",
        {
            "aws_region": "us-east-1",
            "bedrock_provider": "anthropic",
            "bedrock_api_base": "https://p",
            "aws_access_key_id_plaintext": f"{TEXT}-id",
            "aws_secret_access_key_plaintext": TEXT,
        },
    ),
    "openai": (
        "openai_config",
        {
            "openai_api_type": "azuread",
            "openai_api_base": "https://x.openai.azure.com",
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "d",
            "openai_organization": "o",
            "microsoft_entra_client_id": "c",
            "microsoft_entra_tenant_id": "t",
            "microsoft_entra_authority": "https://login.example.com",
            "microsoft_entra_client_secret_plaintext": TEXT,
        },
    ),
}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        put_secret(plane)
        yield plane


def put_secret(plane: ControlPlane, caller: Any = ANN) -> None:
    for path, body in (
        ("scopes/create", {"scope": "my_scope"}),
        ("put", {"scope": "my_scope", "key": "my_openai_api_key", "string_value": TEXT}),
    ):
        assert plane.request("POST", f"/api/2.0/secrets/{path}", caller, json=body).status_code == 200
    plane.notifier.scopes.clear()


def external(name: str = "gpt", model: str = "gpt-4.1", task: str = CHAT, **config: Any) -> dict[str, Any]:
    """A served entity of OpenAI; without a configuration its credential is given as text."""
    return {
        "name": name,
        "external_model": {
            "name": model,
            "provider": "openai",
            "task": task,
            "openai_config": config or {"openai_api_key_plaintext": TEXT},
        },
    }


def of_provider(provider: str, field: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": "one", "external_model": {"name": "m", "provider": provider, "task": CHAT, field: config}}


def served(*entities: dict[str, Any], **traffic: int) -> dict[str, Any]:
    body: dict[str, Any] = {"served_entities": list(entities)}
    if traffic:
        body["traffic_config"] = {
            "routes": [{"served_model_name": name, "traffic_percentage": share} for name, share in traffic.items()]
        }
    return body


def ok(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(response: Any) -> tuple[int, str, str]:
    document = response.json()
    assert set(document) == {"error_code", "message"}, document
    assert TEXT not in response.text
    return response.status_code, document["error_code"], document["message"]


def post(plane: ControlPlane, body: dict[str, Any], caller: Any = ANN) -> Any:
    return plane.request("POST", ENDPOINTS, caller, json=body)


def create(plane: ControlPlane, *entities: dict[str, Any], **fields: Any) -> dict[str, Any]:
    config = fields.pop("config", None) or served(*entities or [external()])
    return ok(post(plane, {"name": "llm", **fields, "config": config}))


def put(plane: ControlPlane, body: dict[str, Any], caller: Any = ANN) -> Any:
    return plane.request("PUT", CONFIG, caller, json=body)


def detail(plane: ControlPlane, name: str = "llm") -> dict[str, Any]:
    return ok(plane.request("GET", f"{ENDPOINTS}/{name}"))


def phases(plane: ControlPlane) -> dict[str, list[str]]:
    """The phases of all deployments by served name."""
    found: dict[str, list[str]] = {}
    with reading(plane.sessions) as session:
        for one in session.query(Deployment).order_by(Deployment.creation_timestamp):
            found.setdefault(one.served_name, []).append(one.phase)
    return found


def event_types(plane: ControlPlane, name: str = "llm") -> list[str]:
    events = ok(plane.request("GET", f"{ENDPOINTS}/{name}/events"))["events"]
    return [one["event_type"] for one in reversed(events)]


# Create


def test_the_documented_create_is_answered_as_documented(plane: ControlPlane) -> None:
    answer = ok(
        post(
            plane,
            {
                "name": "openai_endpoint",
                "config": {
                    "served_entities": [
                        {
                            "name": "openai_embeddings",
                            "external_model": {
                                "name": "text-embedding-ada-002",
                                "provider": "openai",
                                "task": EMBEDDINGS,
                                "openai_config": {"openai_api_key": REFERENCE},
                            },
                        }
                    ]
                },
                "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
                "tags": [{"key": "team", "value": "gen-ai"}],
            },
        )
    )
    assert answer == {
        "name": "openai_endpoint",
        "creator": ANN.user_name,
        "creation_timestamp": plane.clock.now,
        "last_updated_timestamp": plane.clock.now,
        "state": {"ready": "READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"},
        "config": {
            "served_entities": [
                {
                    "name": "openai_embeddings",
                    "external_model": {
                        "provider": "openai",
                        "name": "text-embedding-ada-002",
                        "task": EMBEDDINGS,
                        "openai_config": {"openai_api_key": REFERENCE},
                    },
                    "state": {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""},
                    "creator": ANN.user_name,
                    "creation_timestamp": plane.clock.now,
                }
            ],
            "traffic_config": {
                "routes": [
                    {
                        "served_model_name": "openai_embeddings",
                        "served_entity_name": "openai_embeddings",
                        "traffic_percentage": 100,
                    }
                ]
            },
            "config_version": 1,
        },
        "tags": [{"key": "team", "value": "gen-ai"}],
        "id": answer["id"],
        "permission_level": "CAN_MANAGE",
        "route_optimized": False,
        # Not in the documented answer:
        "description": "",
        "task": EMBEDDINGS,
        "endpoint_type": "EXTERNAL_MODEL",
    }
    assert detail(plane, "openai_endpoint") == answer
    assert plane.notifier.routed == [answer["id"]], "the answer waits for the route"
    assert event_types(plane, "openai_endpoint") == ["ENDPOINT_EVENT", "CONFIG_UPDATE_SUCCEEDED"]
    parsed = serving.ServingEndpointDetailed.from_dict(answer)
    assert parsed.config is not None
    assert not parsed.config.served_models
    assert parsed.task == EMBEDDINGS


def test_the_list_shows_provider_and_task(plane: ControlPlane) -> None:
    create(plane, external("a", openai_api_key=REFERENCE))
    (summary,) = ok(plane.request("GET", ENDPOINTS))["endpoints"]
    assert summary["task"] == CHAT
    assert summary["config"] == {
        "served_entities": [
            {
                "name": "a",
                "external_model": {
                    "name": "gpt-4.1",
                    "provider": "openai",
                    "task": CHAT,
                    "openai_config": {"openai_api_key": REFERENCE},
                },
            }
        ]
    }


def test_a_name_is_made_of_the_models(plane: ControlPlane) -> None:
    given = external(model="us.anthropic.claude:0")
    del given["name"]
    (shown,) = create(plane, given)["config"]["served_entities"]
    assert shown["name"] == "us-anthropic-claude-0"


def test_each_provider_is_accepted_and_its_text_is_not_shown(plane: ControlPlane) -> None:
    for provider, (field, config) in PROVIDERS.items():
        answer = create(plane, of_provider(provider, field, config), name=f"by-{provider}")
        assert answer["config"]["served_entities"][0]["external_model"] == {
            "name": "m",
            "provider": provider,
            "task": CHAT,
            field: {key: value for key, value in config.items() if not key.endswith("_plaintext")},
        }
    with reading(plane.sessions) as session:
        assert {(one.phase, one.max_concurrency) for one in session.query(Deployment)} == {("READY", 0)}
    assert_nowhere(plane, TEXT)


def test_a_custom_provider_takes_its_credential_in_two_ways(plane: ControlPlane) -> None:
    url = {"custom_provider_url": "https://llm.example.com/v1/chat/completions"}
    for number, (way, given, shown) in enumerate(
        (
            ("api_key_auth", {"key": "x-key", "value": REFERENCE}, {"key": "x-key", "value": REFERENCE}),
            ("api_key_auth", {"key": "x-key", "value_plaintext": TEXT}, {"key": "x-key"}),
            ("bearer_token_auth", {"token": REFERENCE}, {"token": REFERENCE}),
            ("bearer_token_auth", {"token_plaintext": TEXT}, {}),
        )
    ):
        entity = of_provider("custom", "custom_provider_config", {**url, way: given})
        answer = create(plane, entity, name=f"custom-{number}")
        config = answer["config"]["served_entities"][0]["external_model"]["custom_provider_config"]
        assert config == {**url, way: shown}
    assert_nowhere(plane, TEXT)


def assert_nowhere(plane: ControlPlane, text: str) -> None:
    """The text is in no file of the data directory and in no answer; the test has given it all the same."""
    names = [one["name"] for one in ok(plane.request("GET", ENDPOINTS))["endpoints"]]
    assert names
    for path in plane.data.root.rglob("*"):
        if path.is_file():
            assert text.encode() not in path.read_bytes(), path
    paths = [f"/{name}{part}" for name in names for part in ("", "/events", "/config-versions")]
    for path in ("", *paths):
        answer = plane.request("GET", f"{ENDPOINTS}{path}")
        assert answer.status_code == 200
        assert text not in answer.text
        assert "moorage-sealed" not in answer.text
    log = plane.request("GET", AUDIT, ADMIN)
    assert log.json()["entries"]
    assert text not in log.text


def test_what_is_stored_of_a_text_opens_for_this_endpoint_alone(plane: ControlPlane) -> None:
    answer = create(plane)
    with reading(plane.sessions) as session:
        spec = stored_spec(session.query(Deployment).one().spec)
    assert isinstance(spec, ExternalModelSpec)
    encryption = Encryption(ENCRYPTION_KEY)
    assert opened(encryption, answer["id"], spec) == {"openai_api_key": TEXT}
    with pytest.raises(Exception, match="another place"):
        opened(encryption, "0" * 32, spec)


def test_several_entities_share_the_traffic_and_the_limit_of_fifteen(plane: ControlPlane) -> None:
    entities = [external(f"e{number}") for number in range(15)]
    traffic = {"e0": 90, "e1": 10}
    answer = create(plane, config=served(*entities, **traffic))
    assert len(answer["config"]["served_entities"]) == 15
    assert [one["traffic_percentage"] for one in answer["config"]["traffic_config"]["routes"]] == [90, 10]
    status, code, message = refused(put(plane, served(*entities, external("e15"), **traffic)))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "at most 15 entities, 16 given" in message


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (served(external("a"), entity(), a=100), "of one kind"),
        (served(external("a"), external("b", task=EMBEDDINGS), a=100), "same 'task'"),
        (served({**external(), "workload_size": "Small"}), "'workload_size' does not go with 'external_model'"),
        (served({**external(), "min_provisioned_concurrency": 4, "max_provisioned_concurrency": 4}), "provisioned"),
        (served({**external(), "environment_vars": {"A": "1"}}), "'environment_vars' does not go with"),
        (served({**external(), "provisioned_model_units": 50}), "'provisioned_model_units' does not go with"),
        (served(external("a"), external("a"), a=100), "unique"),
        (served(external("a"), external("b")), "'traffic_config' is required"),
        (served(external(openai_api_key="{{secrets/my_scope/nothing}}")), "'nothing' of secret scope 'my_scope'"),
        (served(external(openai_api_key="{{secrets/no_scope/key}}")), "Credential 'openai_api_key' of 'gpt'"),
        (served(external(openai_api_key=TEXT)), "openai_config.openai_api_key': must be a secret reference"),
        (served(external(openai_api_key_plaintext="")), "openai_api_key_plaintext': must be text that is not empty"),
        (served(external(openai_api_key_plaintext="a\x00b")), "openai_api_key_plaintext': must be text"),
        (served(external(openai_api_base="https://x")), "openai_config.openai_api_key'"),
    ],
    ids=range(14),
)
def test_what_cannot_be_served_is_refused(plane: ControlPlane, config: dict[str, Any], words: str) -> None:
    status, code, message = refused(post(plane, {"name": "llm", "config": config}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert words in message
    assert ok(plane.request("GET", ENDPOINTS)) == {"endpoints": []}


def test_text_that_no_database_keeps_is_refused(plane: ControlPlane) -> None:
    given = external(openai_api_key_plaintext="\ud800")
    body = json.dumps({"name": "llm", "config": served(given)})
    assert refused(plane.request("POST", ENDPOINTS, content=body))[0] == 400


def test_route_optimisation_is_refused(plane: ControlPlane) -> None:
    body = {"name": "llm", "route_optimized": True, "config": served(external())}
    assert "route_optimized" in refused(post(plane, body))[2]


def test_telemetry_is_dropped_at_creation_and_refused_later(plane: ControlPlane) -> None:
    answer = create(plane, telemetry_config={"table_names": {"logs_table": "a.b.c"}})
    assert "telemetry_config" not in answer
    patch = plane.request("PATCH", f"{ENDPOINTS}/llm/telemetry-config", json={"telemetry_config": {}})
    assert "EXTERNAL_MODEL" in refused(patch)[2]


def test_who_may_not_read_the_secret_may_not_use_it(plane: ControlPlane) -> None:
    body = {"name": "llm", "config": served(external(openai_api_key=REFERENCE))}
    status, code, message = refused(post(plane, body, BOB))
    assert (status, code) == (403, "PERMISSION_DENIED")
    assert "bob@example.com" in message
    assert "credential 'openai_api_key' of 'gpt'" in message


def test_a_manager_cannot_use_a_secret_of_the_creator(plane: ControlPlane) -> None:
    identifier = create(plane, external(openai_api_key=REFERENCE))["id"]
    grant = {"access_control_list": [{"user_name": BOB.user_name, "permission_level": "CAN_MANAGE"}]}
    path = f"/api/2.0/permissions/serving-endpoints/{identifier}"
    assert plane.request("PATCH", path, json=grant).status_code == 200
    elsewhere = served(external(openai_api_key=REFERENCE, openai_api_base="https://bob.example.com"))
    assert refused(put(plane, elsewhere, BOB))[:2] == (403, "PERMISSION_DENIED")
    left = served(external(openai_api_key=REFERENCE))
    assert ok(put(plane, left, BOB))["config"]["config_version"] == 2, "an entity that is left as it is"


# Addresses


def test_metadata_services_are_out_of_reach(plane: ControlPlane, tmp_path: Path) -> None:
    url = "http://169.254.169.254/latest"
    config = served(external("a"), external(openai_api_key_plaintext=TEXT, openai_api_base=url), a=100)
    status, code, message = refused(post(plane, {"name": "llm", "config": config}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "'config.served_entities[1].external_model.openai_config.openai_api_base'" in message
    assert "MOORAGE_ALLOW_METADATA_ADDRESSES" in message
    create(plane)
    assert "'served_entities[1].external_model.openai_config.openai_api_base'" in refused(put(plane, config))[2]
    with control_plane(tmp_path / "other", allow_metadata_addresses=True) as other:
        assert create(other, config=config)["config"]["config_version"] == 1


def test_every_base_url_is_looked_at(plane: ControlPlane) -> None:
    fields = {
        (provider, field)
        for provider, (_, config) in PROVIDERS.items()
        for field, value in config.items()
        if str(value).startswith("http")
    }
    assert len(fields) == 9
    for provider, field in fields:
        holder, config = PROVIDERS[provider]
        given = of_provider(provider, holder, {**config, field: "http://METADATA.google.internal./x"})
        message = refused(post(plane, {"name": "llm", "config": served(given)}))[2]
        assert f"external_model.{holder}.{field}': must not lead to a link-local address" in message
    custom = {"custom_provider_url": "http://2852039166", "bearer_token_auth": {"token": REFERENCE}}
    given = of_provider("custom", "custom_provider_config", custom)
    assert "custom_provider_url'" in refused(post(plane, {"name": "llm", "config": served(given)}))[2]


# Update


def test_an_update_serves_at_once_and_keeps_what_it_leaves(plane: ControlPlane) -> None:
    first = create(plane, config=served(external("a"), external("b"), a=50, b=50))
    began = plane.clock.now
    plane.clock.now += 1000
    answer = ok(put(plane, served(external("a"), external("b", model="gpt-5"), external("c"), a=100)))
    assert answer["state"] == {"ready": "READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"}
    assert "pending_config" not in answer
    assert answer["config"]["config_version"] == 2
    assert answer["last_updated_timestamp"] == plane.clock.now
    times = {one["name"]: one["creation_timestamp"] for one in answer["config"]["served_entities"]}
    assert times == {"a": began, "b": plane.clock.now, "c": plane.clock.now}
    one, two = plane.deployment_ids(first["id"]), plane.deployment_ids(first["id"], 2)
    assert one["a"] == two["a"], "the same text is the same entity, however it is sealed"
    assert one["b"] != two["b"]
    assert phases(plane) == {"a": ["READY"], "b": ["RETIRED", "READY"], "c": ["READY"]}
    assert detail(plane) == answer
    assert plane.notifier.routed == [first["id"]] * 2
    assert event_types(plane)[2:] == ["CONFIG_UPDATE_ACCEPTED", "CONFIG_UPDATE_SUCCEEDED"]


def test_another_text_is_another_entity(plane: ControlPlane) -> None:
    identifier = create(plane)["id"]
    ok(put(plane, served(external(openai_api_key_plaintext="sk-other"))))
    assert plane.deployment_ids(identifier) != plane.deployment_ids(identifier, 2)
    assert_nowhere(plane, "sk-other")


def test_an_update_must_give_the_credential_again(plane: ControlPlane) -> None:
    create(plane)
    status, code, message = refused(put(plane, served(external(openai_organization="o"))))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message == "Missing required field 'served_entities[0].external_model.openai_config.openai_api_key'"


def test_an_endpoint_neither_gains_nor_loses_external_models(plane: ControlPlane) -> None:
    create(plane)
    status, code, message = refused(put(plane, served(entity())))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "serves external models and cannot be updated to serve custom models" in message
    plane.activate(plane.create("ads")["id"])
    message = refused(plane.request("PUT", f"{ENDPOINTS}/ads/config", json=served(external())))[2]
    assert "serves custom models and cannot be updated to serve external models" in message


def test_an_endpoint_without_configuration_takes_external_models(plane: ControlPlane) -> None:
    plane.create("llm", config=None)
    answer = ok(put(plane, served(external())))
    assert (answer["state"]["ready"], answer["config"]["config_version"]) == ("READY", 1)


def test_it_cannot_be_stopped_started_or_canceled(plane: ControlPlane) -> None:
    create(plane)
    for verb in ("stop", "start"):
        status, code, message = refused(plane.request("POST", f"{CONFIG}:{verb}"))
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
        assert "of type EXTERNAL_MODEL" in message
    assert refused(plane.request("POST", f"{CONFIG}:cancel"))[0] == 400
    assert detail(plane)["state"]["ready"] == "READY"


def test_a_rollback_serves_what_an_earlier_version_did(plane: ControlPlane) -> None:
    identifier = create(plane, external(model="gpt-4.1"))["id"]
    ok(put(plane, served(external(model="gpt-5"))))
    answer = ok(plane.request("POST", f"{CONFIG}:rollback", json={"config_version": 1}))
    assert answer["config"]["config_version"] == 3
    assert answer["config"]["served_entities"][0]["external_model"]["name"] == "gpt-4.1"
    assert answer["state"]["config_update"] == "NOT_UPDATING"
    with reading(plane.sessions) as session:
        newest = session.get_one(Deployment, plane.deployment_ids(identifier, 3)["gpt"])
        spec = stored_spec(newest.spec)
    assert isinstance(spec, ExternalModelSpec)
    assert opened(Encryption(ENCRYPTION_KEY), identifier, spec) == {"openai_api_key": TEXT}
    versions = ok(plane.request("GET", f"{ENDPOINTS}/llm/config-versions"))["config_versions"]
    assert [(one["config_version"], one["active"]) for one in versions] == [(3, True), (2, False), (1, False)]


def test_notifications_tell_of_an_update(tmp_path: Path) -> None:
    chosen = {"smtp_url": "smtp://mail.example.com", "smtp_from": "moorage@example.com"}
    with control_plane(tmp_path, **chosen) as plane:
        create(plane, email_notifications={"on_update_success": ["ann@example.com"]})
        ok(put(plane, served(external(model="gpt-5"))))
        with reading(plane.sessions) as session:
            told = [(one.outcome, one.config_version) for one in session.query(Notification)]
    assert told == [("UPDATE_SUCCEEDED", 1), ("UPDATE_SUCCEEDED", 2)]


def test_logs_are_empty_and_deleting_takes_the_name_away_at_once(plane: ControlPlane) -> None:
    create(plane)
    for kind in ("logs", "build-logs"):
        assert ok(plane.request("GET", f"{ENDPOINTS}/llm/served-models/gpt/{kind}")) == {"logs": ""}
    assert plane.request("GET", f"{ENDPOINTS}/llm/replicas").status_code == 200
    assert ok(plane.request("DELETE", f"{ENDPOINTS}/llm")) == {}
    assert plane.request("GET", f"{ENDPOINTS}/llm").status_code == 404
    create(plane)


def test_an_external_model_is_nothing_to_check(plane: ControlPlane) -> None:
    answer = plane.request("POST", "/api/2.0/model-checks", json=external())
    assert refused(answer)[0] == 400


def test_a_secret_that_changes_is_told(plane: ControlPlane) -> None:
    secret = {"scope": "my_scope", "key": "my_openai_api_key"}
    acl = {"scope": "my_scope", "principal": BOB.user_name}
    for path, body in (
        ("put", {**secret, "string_value": "new"}),
        ("acls/put", {**acl, "permission": "READ"}),
        ("acls/delete", acl),
        ("delete", secret),
        ("scopes/delete", {"scope": "my_scope"}),
    ):
        ok(plane.request("POST", f"/api/2.0/secrets/{path}", json=body))
    assert plane.notifier.scopes == ["my_scope"] * 5


# The AI Gateway block


FALLBACK = {"fallback_config": {"enabled": True}}
TABLE = {"catalog_name": "main", "schema_name": "logs", "enabled": True}


def put_gateway(plane: ControlPlane, gateway: dict[str, Any], name: str = "llm") -> Any:
    return plane.request("PUT", f"{ENDPOINTS}/{name}/ai-gateway", json=gateway)


def test_everything_of_the_gateway_is_accepted_and_echoed(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "missing_for", lambda *_: None)
    gateway = {
        **FALLBACK,
        "guardrails": {
            "input": {"safety": True, "pii": {"behavior": "BLOCK"}, "invalid_keywords": ["x"], "valid_topics": ["y"]},
            "output": {"safety": False, "pii": {"behavior": "MASK"}},
        },
        "inference_table_config": {**TABLE, "table_name_prefix": "llm"},
        "rate_limits": [{"tokens": 1000, "renewal_period": "minute", "key": "user"}],
        "usage_tracking_config": {"enabled": True},
    }
    answer = create(plane, config=served(external("a"), external("b"), a=100), ai_gateway=gateway)
    assert answer["ai_gateway"] == gateway
    assert ok(put_gateway(plane, {})) == {}
    assert "ai_gateway" not in detail(plane)
    assert ok(put_gateway(plane, gateway)) == gateway
    assert detail(plane)["ai_gateway"] == gateway


def test_fallback_needs_another_entity(plane: ControlPlane) -> None:
    words = "'ai_gateway.fallback_config.enabled' needs at least two served entities"
    body = {"name": "llm", "config": served(external()), "ai_gateway": FALLBACK}
    assert words in refused(post(plane, body))[2]
    create(plane)
    assert words in refused(put_gateway(plane, FALLBACK))[2]
    assert ok(put_gateway(plane, {"fallback_config": {"enabled": False}}))
    two = served(external("a"), external("b"), a=100)
    ok(put(plane, two))
    assert ok(put_gateway(plane, FALLBACK)) == FALLBACK
    assert words in refused(put(plane, served(external())))[2]
    rollback = plane.request("POST", f"{CONFIG}:rollback", json={"config_version": 1})
    assert words in refused(rollback)[2]
    assert detail(plane)["config"]["config_version"] == 2


def test_guardrails_need_their_detectors(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    create(plane)
    monkeypatch.setattr(installed, "guardrails_installed", lambda: False)
    gateway = {"guardrails": {"output": {"pii": {"behavior": "MASK"}}}}
    body = {"name": "other", "config": served(external()), "ai_gateway": gateway}
    for answer in (post(plane, body), put_gateway(plane, gateway)):
        status, code, message = refused(answer)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
        assert "'ai_gateway.guardrails'" in message
        assert "moorage[guardrails]" in message
    assert ok(put_gateway(plane, {"guardrails": {}})) == {"guardrails": {}}
    monkeypatch.setattr(installed, "guardrails_installed", lambda: True)
    assert ok(put_gateway(plane, gateway)) == gateway


def test_the_older_inference_table_is_accepted_and_shares_no_table_with_the_newer(plane: ControlPlane) -> None:
    older = {"catalog_name": "main", "schema_name": "logs"}
    config = {**served(external()), "auto_capture_config": older}
    gateway = {"inference_table_config": TABLE}
    words = "both name the table 'main.logs.llm_payload'"
    assert words in refused(post(plane, {"name": "llm", "config": config, "ai_gateway": gateway}))[2]
    shown = create(plane, config=config)["config"]["auto_capture_config"]
    assert shown["state"] == {"payload_table": {"name": "llm_payload"}}
    assert words in refused(put_gateway(plane, gateway))[2]
    apart = {"inference_table_config": {**TABLE, "table_name_prefix": "new"}}
    assert ok(put_gateway(plane, apart)) == apart
    off = {**served(external()), "auto_capture_config": {"enabled": False}}
    ok(put(plane, off))
    moved = {"inference_table_config": {"enabled": False}}
    assert ok(put_gateway(plane, moved)) == moved
    assert ok(put_gateway(plane, gateway)) == gateway


@pytest.mark.parametrize("part", ["a.b", "../up", "a/b", " ", ""])
def test_the_places_of_tables_are_names(plane: ControlPlane, part: str) -> None:
    create(plane)
    for field in ("catalog_name", "schema_name", "table_name_prefix"):
        message = refused(put_gateway(plane, {"inference_table_config": {**TABLE, field: part}}))[2]
        assert f"inference_table_config.{field}'" in message


def test_custom_models_have_limits_usage_and_tables_and_no_more(plane: ControlPlane) -> None:
    plane.create()
    gateway = {
        "inference_table_config": TABLE,
        "usage_tracking_config": {"enabled": True},
        "rate_limits": [{"calls": 5, "renewal_period": "minute", "key": "endpoint"}],
    }
    assert ok(put_gateway(plane, gateway, "ads")) == gateway
    for feature in (FALLBACK, {"guardrails": {"input": {"invalid_keywords": ["x"]}}}):
        assert "not for endpoints of custom models" in refused(put_gateway(plane, feature, "ads"))[2]


def test_limits_of_the_older_form_are_put_and_answered(plane: ControlPlane) -> None:
    create(plane)
    limits = {"rate_limits": [{"key": "user", "renewal_period": "minute", "calls": 10}]}
    assert ok(plane.request("PUT", f"{ENDPOINTS}/llm/rate-limits", json=limits)) == limits


def test_only_this_kind_has_a_type_in_the_answer(plane: ControlPlane) -> None:
    assert not {"endpoint_type", "task"} & set(plane.create())
    with reading(plane.sessions) as session:
        assert session.query(Endpoint).one().kind == "CUSTOM_MODEL"


# The key that texts are sealed under


def test_a_rotation_of_the_key_leaves_every_text_readable(tmp_path: Path) -> None:
    with control_plane(tmp_path) as plane:
        write_key(plane.data)
        identifier = create(plane, config=served(external("a"), external("b"), a=100))["id"]
        ok(put(plane, served(external("a", openai_api_key_plaintext="sk-newer"))))  # and what a rollback would serve
        before = {one.id: dict(one.spec) for one in stored(plane)}
    rotate_key(plane.data, {})
    new = Encryption(parse_key(plane.data.encryption_key.read_text()))
    engine = open_database(plane.data.database)
    with reading(make_sessions(engine)) as session:
        rows = session.query(Deployment).all()
        specs = [stored_spec(one.spec) for one in rows]
        for row in rows:
            assert row.spec["sealed"] != before[row.id]["sealed"]
    engine.dispose()
    texts = {opened(new, identifier, one)["openai_api_key"] for one in specs if isinstance(one, ExternalModelSpec)}
    assert (len(specs), texts) == (3, {TEXT, "sk-newer"})


def stored(plane: ControlPlane) -> list[Deployment]:
    with reading(plane.sessions) as session:
        return session.query(Deployment).all()


def write_key(data: DataDirectory) -> None:
    """Make the key of `control_plane` that of the data directory."""
    data.encryption_key.write_text(key_text(ENCRYPTION_KEY))
    engine = open_database(data.database)
    settle_key(data, make_sessions(engine), {})
    engine.dispose()


@pytest.mark.parametrize("key", ["", "a b", "x\r\ny: z", "Host", "content-length", "käse"])
def test_the_header_of_a_custom_provider_is_one_that_may_hold_a_key(plane: ControlPlane, key: str) -> None:
    config = {
        "custom_provider_url": "https://models.example.com/v1",
        "api_key_auth": {"key": key, "value_plaintext": "x"},
    }
    model = {"name": "m", "provider": "custom", "task": "llm/v1/chat", "custom_provider_config": config}
    body = {"name": "custom", "config": {"served_entities": [{"name": "m", "external_model": model}]}}
    status, _, message = refused(post(plane, body))
    assert status == 400
    assert "key" in message
