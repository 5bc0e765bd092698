"""Counting answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.api.metrics import BATCH_BUCKETS, DURATION_BUCKETS_MS
from moorage.api.routing import Availability, EndpointChange, EndpointRoute, ServedRoute
from moorage.datadir import DataDirectory
from moorage.gateway.credentials import CredentialOpener
from moorage.gateway.meters import Meters
from moorage.gateway.routing import RoutingTable

NO_CREDENTIALS = CredentialOpener(DataDirectory(Path("/nowhere")), {})


def in_bucket(bounds: tuple[float, ...], value: float) -> list[int]:
    """One observation of `value`, by the definition of a bucket."""
    at = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
    return [int(i == at) for i in range(len(bounds) + 1)]


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.00051, 0.1, 300.0, 301.0])
def test_answer_is_in_the_bucket_of_its_time(seconds):
    meters = Meters()
    meters.meter("e", "1", "m").answered(200, seconds, seconds / 4, int(seconds / 4 * 1e6), int(seconds * 5e5), 3)
    [counts] = meters.read()
    assert (counts.endpoint, counts.endpoint_id, counts.served) == ("e", "1", "m")
    assert counts.statuses == {200: 1}
    ms = seconds * 1000
    for distribution, value in ((counts.latency, ms), (counts.queue, ms / 2), (counts.prediction, ms / 2)):
        assert distribution.total == pytest.approx(value, abs=0.002)
        assert distribution.count == 1
    assert list(counts.latency.counts) == in_bucket(DURATION_BUCKETS_MS, ms)
    assert list(counts.batch.counts) == in_bucket(BATCH_BUCKETS, 3)
    assert counts.batch.total == 3


def test_refusal_has_a_status_and_a_latency_and_nothing_of_a_model():
    meters = Meters()
    meter = meters.meter("e", "1", "m")
    meter.refused(429, 0.002)
    meter.refused(429, 0.002)
    meter.answered(200, 0.002, 0.001, 10, 20, 1)
    [counts] = meters.read()
    assert counts.statuses == {429: 2, 200: 1}
    assert (counts.latency.count, counts.queue.count, counts.prediction.count, counts.batch.count) == (3, 1, 1, 1)


def test_each_observation_is_read_once_and_only_meters_that_counted_are():
    meters = Meters()
    first, second = meters.meter("e", "1", "a"), meters.meter("e", "1", "b")
    first.refused(404, 0.1)
    assert [one.served for one in meters.read()] == ["a"]
    assert meters.read() == ()
    second.refused(404, 0.1)
    first.refused(404, 0.1)
    assert {one.served: one.statuses for one in meters.read()} == {"a": {404: 1}, "b": {404: 1}}


def test_entity_keeps_its_meter_when_its_route_changes_and_a_new_endpoint_of_its_name_has_another():
    meters = Meters()
    table = RoutingTable(meters, NO_CREDENTIALS)

    def route(endpoint_id: str, share: int) -> EndpointChange:
        served = (ServedRoute(name="m", traffic_percentage=share),)
        route = EndpointRoute(name="e", id=endpoint_id, availability=Availability.SERVING, served=served)
        return EndpointChange(name="e", route=route)

    table.apply(route("1", 100))
    before = table.endpoints["e"]
    table.apply(route("1", 50))
    after = table.endpoints["e"]
    assert after.meter is before.meter
    assert after.served["m"].meter is before.served["m"].meter
    before.served["m"].meter.refused(500, 1.0)
    table.apply(route("2", 100))
    table.endpoints["e"].served["m"].meter.refused(404, 1.0)
    assert {one.endpoint_id: one.statuses for one in meters.read()} == {"1": {500: 1}, "2": {404: 1}}
