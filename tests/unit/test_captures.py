"""Which inference tables an endpoint's settings ask for."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from moorage.api.ai_gateway import AiGateway
from moorage.api.configs import AutoCaptureInput, AutoCaptureOutput
from moorage.api.endpoints import TelemetryConfig
from moorage.api.errors import InvalidParameterValue
from moorage.api.routing import CaptureRoute
from moorage.control.captures import captures, require_separate_tables

PLACE = {"catalog_name": "main", "schema_name": "logs"}
LOGS = {"table_names": {"logs_table": "a.b.logs"}}
INFERENCE = "TELEMETRY_FEATURE_INFERENCE_TABLE"


def older(**given: Any) -> AutoCaptureOutput:
    return AutoCaptureOutput.of(AutoCaptureInput.model_validate(given), "ads")


def gateway(**table: Any) -> AiGateway:
    return AiGateway.model_validate({"inference_table_config": table})


def of_telemetry(**config: Any) -> tuple[CaptureRoute, ...]:
    return captures("ads", None, None, TelemetryConfig.model_validate(config))


def test_no_settings_are_no_tables() -> None:
    assert captures("ads", None, None, None) == ()
    assert captures("ads", None, AiGateway(), None) == ()


def test_the_older_table_has_its_own_columns() -> None:
    assert captures("ads", older(**PLACE), None, None) == (CaptureRoute(table="main.logs.ads_payload", legacy=True),)
    named = older(**PLACE, table_name_prefix="x")
    assert captures("ads", named, None, None) == (CaptureRoute(table="main.logs.x_payload", legacy=True),)
    assert captures("ads", named.model_copy(update={"enabled": False}), None, None) == ()
    assert captures("ads", older(enabled=False), None, None) == ()


def test_the_gateways_table_is_named_after_the_endpoint() -> None:
    assert captures("ads", None, gateway(**PLACE, enabled=True), None) == (
        CaptureRoute(table="main.logs.ads_payload"),
    )
    assert captures("ads", None, gateway(**PLACE, enabled=False), None) == ()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LOGS, CaptureRoute(table="a.b.logs_payload")),
        ({**LOGS, "enabled_telemetry_features": []}, CaptureRoute(table="a.b.logs_payload")),
        ({**LOGS, "enabled_telemetry_features": [INFERENCE]}, CaptureRoute(table="a.b.logs_payload")),
        ({**LOGS, "enabled_telemetry_features": ["TELEMETRY_FEATURE_LOGS"]}, None),
        ({"table_names": {"traces_table": "a.b.traces"}}, None),
        ({"telemetry_profile_id": "p"}, None),
        ({**LOGS, "inference_table_config": {"name": "c.d.e"}}, CaptureRoute(table="c.d.e")),
        (
            {**LOGS, "inference_table_config": {"sampling_fraction": 0}},
            CaptureRoute(table="a.b.logs_payload", sampling_fraction=0.0),
        ),
        (
            {"inference_table_config": {"name": "c.d.e", "sampling_fraction": 0.25}},
            CaptureRoute(table="c.d.e", sampling_fraction=0.25),
        ),
    ],
    ids=range(9),
)
def test_telemetry_has_a_table_beside_its_logs(config: dict[str, Any], expected: CaptureRoute | None) -> None:
    assert of_telemetry(**config) == ((expected,) if expected else ())


@pytest.mark.parametrize("name", ["logs", "a.b", "a.b.c.d", "a..c", "a.b/../c.d", "a.b. "])
def test_a_table_has_a_name_in_three_levels(name: str) -> None:
    for config in ({"table_names": {"logs_table": name}}, {"inference_table_config": {"name": name}}):
        with pytest.raises(ValidationError, match="three levels"):
            TelemetryConfig.model_validate(config)


def test_a_table_that_is_named_twice_is_written_once_and_refused_where_its_columns_differ() -> None:
    same = gateway(**PLACE, enabled=True)
    telemetry = TelemetryConfig.model_validate({"inference_table_config": {"name": "main.logs.ads_payload"}})
    assert captures("ads", None, same, telemetry) == (CaptureRoute(table="main.logs.ads_payload"),)
    with pytest.raises(InvalidParameterValue, match=r"both name the table 'main\.logs\.ads_payload'"):
        require_separate_tables("ads", older(**PLACE), same)
    require_separate_tables("ads", older(**PLACE, table_name_prefix="x"), same)
    require_separate_tables("ads", None, same)
