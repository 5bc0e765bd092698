"""The inference tables of an endpoint, from its settings to what gateways write."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.api.ai_gateway import AiGateway, GatewayInferenceTable
from moorage.api.configs import AutoCaptureOutput
from moorage.api.endpoints import TelemetryConfig, TelemetryFeature
from moorage.api.errors import InvalidParameterValue
from moorage.api.routing import CaptureRoute
from moorage.api.table_names import payload_table


def captures(
    endpoint_name: str,
    auto_capture: AutoCaptureOutput | None,
    gateway: AiGateway | None,
    telemetry: TelemetryConfig | None,
) -> tuple[CaptureRoute, ...]:
    """The tables of all three ways to ask for one; a table that several name is written once.

    `telemetry` is as it is kept, with the tables of its profile.
    """
    by_table: dict[str, CaptureRoute] = {}
    for one in (
        *_of_auto_capture(endpoint_name, auto_capture),
        *_of_gateway(endpoint_name, gateway.inference_table_config if gateway else None),
        *_of_telemetry(telemetry),
    ):
        by_table.setdefault(one.table, one)
    return tuple(by_table.values())


def require_separate_tables(
    endpoint_name: str, auto_capture: AutoCaptureOutput | None, gateway: AiGateway | None
) -> None:
    """
    Raises:
        InvalidParameterValue: both name the same table, which has not the same columns for both.
    """
    older = {one.table for one in _of_auto_capture(endpoint_name, auto_capture)}
    for one in _of_gateway(endpoint_name, gateway.inference_table_config if gateway else None):
        if one.table in older:
            raise InvalidParameterValue(
                f"'ai_gateway.inference_table_config' and 'auto_capture_config' both name the table '{one.table}'; "
                "give one of them another 'table_name_prefix'"
            )


def _of_auto_capture(endpoint_name: str, table: AutoCaptureOutput | None) -> Iterator[CaptureRoute]:
    if table is not None and table.enabled and table.catalog_name and table.schema_name:
        prefix = table.table_name_prefix or endpoint_name
        yield CaptureRoute(table=payload_table(table.catalog_name, table.schema_name, prefix), legacy=True)


def _of_gateway(endpoint_name: str, table: GatewayInferenceTable | None) -> Iterator[CaptureRoute]:
    if table is not None and table.enabled and table.catalog_name and table.schema_name:
        prefix = table.table_name_prefix or endpoint_name
        yield CaptureRoute(table=payload_table(table.catalog_name, table.schema_name, prefix))


def _of_telemetry(telemetry: TelemetryConfig | None) -> Iterator[CaptureRoute]:
    """Without a list of features all are enabled. Source: Databricks CLI, `telemetry_config`."""
    if telemetry is None:
        return
    features = telemetry.enabled_telemetry_features
    if features and TelemetryFeature.INFERENCE_TABLE not in features:
        return
    own = telemetry.inference_table_config
    logs = telemetry.table_names.logs_table if telemetry.table_names else None
    name = (own.name if own else None) or (f"{logs}_payload" if logs else None)
    if name is not None:
        fraction = own.sampling_fraction if own and own.sampling_fraction is not None else 1.0
        yield CaptureRoute(table=name, sampling_fraction=fraction)
