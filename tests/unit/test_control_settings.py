"""Tags, notifications, telemetry, rate limits and the AI Gateway of an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import BOB, ENDPOINTS, ControlPlane, control_plane
from databricks.sdk.service import serving

from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, Event

TABLES = {"logs_table": "prod.obs.logs"}
MINUTE = {"renewal_period": "minute"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    assert set(document) == {"error_code", "message"}
    return response.status_code, document["error_code"], document["message"]


def ok(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def running(plane: ControlPlane, **fields: Any) -> None:
    """An endpoint 'ads' that serves, and a clock that has gone on since."""
    plane.activate(plane.create(**fields)["id"])
    plane.clock.now += 1000


def detail(plane: ControlPlane) -> dict[str, Any]:
    return ok(plane.request("GET", f"{ENDPOINTS}/ads"))


def tags(plane: ControlPlane, **body: Any) -> Any:
    return plane.request("PATCH", f"{ENDPOINTS}/ads/tags", json=body)


def notifications(plane: ControlPlane, body: Any) -> Any:
    return plane.request("PATCH", f"{ENDPOINTS}/ads/notifications", json=body)


def telemetry(plane: ControlPlane, config: Any, name: str = "ads") -> Any:
    return plane.request("PATCH", f"{ENDPOINTS}/{name}/telemetry-config", json={"telemetry_config": config})


def rate_limits(plane: ControlPlane, body: Any) -> Any:
    return plane.request("PUT", f"{ENDPOINTS}/ads/rate-limits", json=body)


def gateway(plane: ControlPlane, body: Any, name: str = "ads") -> Any:
    return plane.request("PUT", f"{ENDPOINTS}/{name}/ai-gateway", json=body)


# Tags


def test_tags_are_set_then_taken_away_and_answered_by_key(plane: ControlPlane) -> None:
    running(plane, tags=[{"key": "team", "value": "ml"}, {"key": "cost", "value": "1"}])
    answer = ok(
        tags(
            plane,
            add_tags=[{"key": "zone"}, {"key": "team", "value": "ads"}, {"key": "brief", "value": "x"}],
            delete_tags=["cost", "brief", "nosuch"],
        )
    )
    assert answer == {"tags": [{"key": "team", "value": "ads"}, {"key": "zone", "value": ""}]}
    assert detail(plane)["tags"] == answer["tags"]
    assert serving.EndpointTags.from_dict(answer).tags == [
        serving.EndpointTag(key="team", value="ads"),
        serving.EndpointTag(key="zone", value=""),
    ]
    for nothing in ({"json": {}}, {"content": b""}):
        assert ok(plane.request("PATCH", f"{ENDPOINTS}/ads/tags", **nothing)) == answer


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"add_tags": [{"value": "x"}]}, "INVALID_PARAMETER_VALUE", "add_tags[0].key"),
        ({"add_tags": [{"key": ""}]}, "INVALID_PARAMETER_VALUE", "add_tags[0].key"),
        ({"add_tags": [{"key": "k" * 128}]}, "INVALID_PARAMETER_VALUE", "at most 127"),
        ({"add_tags": [{"key": "k", "value": "v" * 256}]}, "INVALID_PARAMETER_VALUE", "at most 255"),
        ({"add_tags": [{"key": f"k{n}"} for n in range(20)]}, "INVALID_PARAMETER_VALUE", "at most 20 tags"),
        ({"add_tags": {"key": "k"}}, "BAD_REQUEST", "add_tags"),
        ({"delete_tags": [1]}, "BAD_REQUEST", "delete_tags[0]"),
    ],
    ids=range(7),
)
def test_invalid_tags_are_refused_and_change_nothing(
    plane: ControlPlane, body: dict[str, Any], code: str, words: str
) -> None:
    running(plane, tags=[{"key": "team", "value": "ml"}])
    before = detail(plane)
    status, given, message = error(tags(plane, **body))
    assert (status, given) == (400, code)
    assert words in message
    assert detail(plane) == before


def test_twenty_tags_may_be_exchanged_for_others(plane: ControlPlane) -> None:
    running(plane, tags=[{"key": f"old{n}"} for n in range(20)])
    answer = ok(tags(plane, add_tags=[{"key": "new"}], delete_tags=["old0"]))
    assert len(answer["tags"]) == 20


# Notifications


def test_notifications_are_replaced_as_a_whole(plane: ControlPlane) -> None:
    running(plane)
    path = f"{ENDPOINTS}/ads/notifications"
    assert ok(plane.request("PATCH", path, content=b"")) == {"name": "ads", "email_notifications": {}}
    failure = {"on_update_failure": ["ann@example.com"]}
    answer = ok(notifications(plane, {"email_notifications": failure}))
    assert answer == {"name": "ads", "email_notifications": failure}
    parsed = serving.UpdateInferenceEndpointNotificationsResponse.from_dict(answer)
    assert parsed.email_notifications is not None
    assert parsed.email_notifications.on_update_failure == ["ann@example.com"]
    assert detail(plane)["email_notifications"] == failure
    assert ok(notifications(plane, {})) == answer
    success = {"on_update_success": ["bob@example.com"]}
    assert ok(notifications(plane, {"email_notifications": success}))["email_notifications"] == success
    ok(notifications(plane, {"email_notifications": {}}))
    assert "email_notifications" not in detail(plane)


@pytest.mark.parametrize(
    ("lists", "code"),
    [
        ({"on_update_failure": ["nobody"]}, "INVALID_PARAMETER_VALUE"),
        ({"on_update_success": "ann@example.com"}, "BAD_REQUEST"),
        ("ann@example.com", "BAD_REQUEST"),
    ],
)
def test_what_is_no_address_is_refused(plane: ControlPlane, lists: Any, code: str) -> None:
    running(plane)
    assert error(notifications(plane, {"email_notifications": lists}))[:2] == (400, code)


# Telemetry


def test_tables_become_a_profile_and_are_not_shown(plane: ControlPlane) -> None:
    running(plane)
    given = {
        "table_names": TABLES,
        "enabled_telemetry_features": ["TELEMETRY_FEATURE_LOGS"],
        "inference_table_config": {"sampling_fraction": 0.5},
    }
    answer = ok(telemetry(plane, given))
    shown = answer["telemetry_config"]
    assert set(shown) == {"enabled_telemetry_features", "inference_table_config", "telemetry_profile_id"}
    assert answer == detail(plane)
    parsed = serving.ServingEndpointDetailed.from_dict(answer).telemetry_config
    assert parsed is not None
    assert parsed.telemetry_profile_id == shown["telemetry_profile_id"]
    profile = {"telemetry_profile_id": shown["telemetry_profile_id"]}
    assert ok(telemetry(plane, profile))["telemetry_config"] == profile
    with reading(plane.sessions) as session:
        stored = session.query(Endpoint).one().telemetry_config
    assert stored == {**profile, "table_names": TABLES}, "the profile keeps its tables"
    assert ok(telemetry(plane, {"telemetry_profile_id": "other"}))["telemetry_config"] == {
        "telemetry_profile_id": "other"
    }


@pytest.mark.parametrize("config", [None, {}, {"enabled_telemetry_features": []}, {"table_names": {}}], ids=str)
def test_telemetry_that_names_no_place_is_removed(plane: ControlPlane, config: Any) -> None:
    running(plane, telemetry_config={"table_names": TABLES})
    assert "telemetry_config" not in ok(telemetry(plane, config))


@pytest.mark.parametrize(
    "config",
    [
        {"enabled_telemetry_features": ["EVERYTHING"]},
        {"table_names": TABLES, "inference_table_config": {"sampling_fraction": 1.5}},
    ],
)
def test_invalid_telemetry_is_refused(plane: ControlPlane, config: Any) -> None:
    running(plane)
    assert error(telemetry(plane, config))[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_telemetry_is_for_custom_models_that_are_not_being_updated(plane: ControlPlane) -> None:
    plane.create()
    assert error(telemetry(plane, {"table_names": TABLES}))[:2] == (409, "RESOURCE_CONFLICT")
    plane.create("bare", config=None)
    status, code, message = error(telemetry(plane, {"table_names": TABLES}, "bare"))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "NO_CONFIG" in message
    with plane.sessions.begin() as session:
        session.query(Endpoint).filter_by(name="bare").one().kind = "EXTERNAL_MODEL"
    assert "EXTERNAL_MODELS" in error(telemetry(plane, {"table_names": TABLES}, "bare"))[2]


# Rate limits


def test_rate_limits_are_replaced_and_not_in_the_detail(plane: ControlPlane) -> None:
    running(plane)
    given = [{"calls": "10", **MINUTE}, {"calls": 0, "key": "user", **MINUTE}]
    answer = ok(rate_limits(plane, {"rate_limits": given}))
    assert answer == {
        "rate_limits": [{"calls": 10, "key": "endpoint", **MINUTE}, {"calls": 0, "key": "user", **MINUTE}]
    }
    limits = serving.PutResponse.from_dict(answer).rate_limits
    assert limits is not None
    assert limits[0].key is serving.RateLimitKey.ENDPOINT
    with reading(plane.sessions) as session:
        assert session.query(Endpoint).one().rate_limits == answer["rate_limits"]
    assert "rate_limits" not in detail(plane)
    for nothing in ({"content": b""}, {"json": {}}, {"json": {"rate_limits": []}}):
        assert ok(plane.request("PUT", f"{ENDPOINTS}/ads/rate-limits", **nothing)) == {"rate_limits": []}


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"calls": 1}, "INVALID_PARAMETER_VALUE"),
        (MINUTE, "INVALID_PARAMETER_VALUE"),
        ({"calls": -1, **MINUTE}, "INVALID_PARAMETER_VALUE"),
        ({"calls": 1, "renewal_period": "hour"}, "INVALID_PARAMETER_VALUE"),
        ({"calls": 1, "key": "user_group", **MINUTE}, "INVALID_PARAMETER_VALUE"),
        ({"calls": "many", **MINUTE}, "BAD_REQUEST"),
    ],
    ids=str,
)
def test_invalid_rate_limits_are_refused(plane: ControlPlane, limit: dict[str, Any], code: str) -> None:
    running(plane)
    assert error(rate_limits(plane, {"rate_limits": [limit]}))[:2] == (400, code)


# AI Gateway


def test_the_gateway_block_is_replaced_as_a_whole_and_answered_itself(plane: ControlPlane) -> None:
    running(plane)
    block = {
        "rate_limits": [{"calls": 10, "key": "user", "principal": "ann@example.com", **MINUTE}],
        "usage_tracking_config": {"enabled": True},
        "inference_table_config": {"enabled": True, "catalog_name": "prod", "schema_name": "logs"},
    }
    answer = ok(gateway(plane, block))
    assert answer == block
    assert serving.PutAiGatewayResponse.from_dict(answer).rate_limits
    assert detail(plane)["ai_gateway"] == block
    tracking = {"usage_tracking_config": {"enabled": False}}
    assert ok(gateway(plane, tracking)) == tracking
    assert detail(plane)["ai_gateway"] == tracking
    for nothing in ({"content": b""}, {"json": {}}):
        assert ok(plane.request("PUT", f"{ENDPOINTS}/ads/ai-gateway", **nothing)) == {}
        assert "ai_gateway" not in detail(plane)


@pytest.mark.parametrize(
    ("block", "code", "words"),
    [
        ({"guardrails": {"input": {"safety": True}}}, "INVALID_PARAMETER_VALUE", "'guardrails'"),
        ({"fallback_config": {"enabled": True}}, "INVALID_PARAMETER_VALUE", "'fallback_config'"),
        ({"fallback_config": {}}, "INVALID_PARAMETER_VALUE", "fallback_config.enabled"),
        ({"rate_limits": [{"calls": 1, "tokens": 1, **MINUTE}]}, "INVALID_PARAMETER_VALUE", "exactly one"),
        ({"rate_limits": [{"calls": 1, **MINUTE}] * 21}, "INVALID_PARAMETER_VALUE", "at most 20"),
        ({"inference_table_config": {"enabled": True}}, "INVALID_PARAMETER_VALUE", "catalog_name"),
        ({"usage_tracking_config": True}, "BAD_REQUEST", "usage_tracking_config"),
    ],
    ids=range(7),
)
def test_invalid_gateway_settings_are_refused(plane: ControlPlane, block: Any, code: str, words: str) -> None:
    running(plane)
    status, given, message = error(gateway(plane, block))
    assert (status, given) == (400, code)
    assert words in message
    assert "ai_gateway" not in detail(plane)


def test_an_endpoint_without_configuration_may_have_what_language_models_need(plane: ControlPlane) -> None:
    plane.create(config=None)
    block = {"fallback_config": {"enabled": True}}
    assert ok(gateway(plane, block)) == block


def test_an_enabled_inference_table_does_not_move(plane: ControlPlane) -> None:
    running(plane)
    table = {"enabled": True, "catalog_name": "prod", "schema_name": "logs"}
    ok(gateway(plane, {"inference_table_config": table}))
    ok(gateway(plane, {"inference_table_config": {**table, "table_name_prefix": "ads"}}))
    moved = {"inference_table_config": {**table, "schema_name": "other"}}
    assert error(gateway(plane, moved))[:2] == (400, "INVALID_PARAMETER_VALUE")
    ok(gateway(plane, {"inference_table_config": {"enabled": False}}))
    ok(gateway(plane, moved))


# For all of them

CALLS = [
    ("PATCH", "/tags", {"add_tags": [{"key": "k"}]}, "TAGS_CHANGED"),
    ("PATCH", "/notifications", {"email_notifications": {}}, "NOTIFICATIONS_CHANGED"),
    ("PATCH", "/telemetry-config", {"telemetry_config": {"table_names": TABLES}}, "TELEMETRY_CONFIG_CHANGED"),
    ("PUT", "/rate-limits", {"rate_limits": [{"calls": 1, **MINUTE}]}, "RATE_LIMITS_CHANGED"),
    ("PUT", "/ai-gateway", {"usage_tracking_config": {"enabled": True}}, "AI_GATEWAY_CHANGED"),
]
every_call = pytest.mark.parametrize(("method", "path", "body", "trigger"), CALLS, ids=[call[1] for call in CALLS])


@every_call
def test_a_change_is_dated_recorded_and_told_and_updates_nothing(
    plane: ControlPlane, method: str, path: str, body: Any, trigger: str
) -> None:
    running(plane)
    before = detail(plane)
    ok(plane.request(method, f"{ENDPOINTS}/ads{path}/", json=body))
    after = detail(plane)
    assert after["last_updated_timestamp"] == plane.clock.now > before["last_updated_timestamp"]
    assert (after["state"], after["config"]) == (before["state"], before["config"])
    assert plane.notifier.endpoints[1:] == [before["id"]]
    with reading(plane.sessions) as session:
        event = session.query(Event).order_by(Event.id.desc()).first()
    assert event is not None
    assert (event.event_type, event.status, event.trigger) == ("ENDPOINT_SETTINGS_CHANGED", "SUCCESS", trigger)
    assert event.message.endswith("changed by ann@example.com")


@every_call
def test_others_are_refused_and_an_unknown_endpoint_is_not_found(
    plane: ControlPlane, method: str, path: str, body: Any, trigger: str
) -> None:
    running(plane)
    before = detail(plane)
    assert error(plane.request(method, f"{ENDPOINTS}/ads{path}", BOB, json=body)) == (
        403,
        "PERMISSION_DENIED",
        "User 'bob@example.com' does not have CAN_MANAGE permission on serving endpoint 'ads'.",
    )
    assert detail(plane) == before
    unknown = plane.request(method, f"{ENDPOINTS}/nosuch{path}", json=body)
    assert error(unknown)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


@every_call
def test_a_body_that_is_no_object_is_a_bad_request(
    plane: ControlPlane, method: str, path: str, body: Any, trigger: str
) -> None:
    running(plane)
    for content in (b"[]", b"{", b'"x"'):
        response = plane.request(method, f"{ENDPOINTS}/ads{path}", content=content)
        assert error(response)[:2] == (400, "BAD_REQUEST")
