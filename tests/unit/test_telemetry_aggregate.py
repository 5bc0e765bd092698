"""Counts added up: once each, by the last minute and by the minute, and forgotten with their endpoint."""

from __future__ import annotations

import pytest
from metric_reports import distribution, report, served_counts

from moorage.api.metrics import DURATION_BUCKETS_MS, Distribution
from moorage.telemetry.aggregate import Aggregate, EntityGauges, EntityKey
from moorage.telemetry.histograms import Histogram
from moorage.telemetry.minutes import MINUTE_MS, Minute, MinuteKey

NOON = 1_700_000_040_000  # the beginning of a minute
A = EntityKey("e1", "a")


class Times:
    """Wall clock and monotonic time that a test moves together."""

    def __init__(self) -> None:
        self.wall = NOON
        self.seconds = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += int(seconds * 1000)
        self.seconds += seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def aggregate(times: Times) -> Aggregate:
    return Aggregate(lambda: times.wall, lambda: times.seconds)


def requests(aggregate: Aggregate, key: EntityKey = A) -> int:
    counts = aggregate.counts([key])
    return sum(counts[key].statuses.values()) if key in counts else 0


def test_a_report_is_added_once_whatever_comes_between(aggregate: Aggregate) -> None:
    first = report(1, served_counts(statuses={200: 3}, latency=[1, 2, 3]))
    assert aggregate.add(first)
    assert not aggregate.add(first)
    assert aggregate.add(report(2, served_counts(statuses={200: 1})))
    assert not aggregate.add(first)
    assert aggregate.add(report(1, served_counts(statuses={200: 5}), gateway="g2"))
    assert requests(aggregate) == 9
    assert aggregate.counts()[A].latency.count == 3


def test_reports_that_overtake_each_other_are_all_added(aggregate: Aggregate) -> None:
    for number in (2, 1, 3, 1, 2):
        aggregate.add(report(number, served_counts(statuses={200: 1})))
    assert requests(aggregate) == 3


def test_what_is_known_of_gateways_is_bounded(aggregate: Aggregate) -> None:
    for worker in range(1000):
        aggregate.add(report(1, served_counts(statuses={200: 1}), gateway=f"g{worker}"))
    for number in range(2, 2000):
        aggregate.add(report(number, served_counts(statuses={200: 1}), gateway="g999"))
    assert len(aggregate._reports) <= 256
    assert all(len(numbers) <= 256 for numbers in aggregate._reports.values())
    assert requests(aggregate) == 2998


def test_the_last_minute_moves_on(aggregate: Aggregate, times: Times) -> None:
    aggregate.add(report(1, served_counts(statuses={200: 5, 404: 2, 500: 1})))
    times.pass_by(30)
    aggregate.add(report(2, served_counts(statuses={200: 4, 429: 1})))
    assert aggregate.counts()[A].last_minute == (13, 3, 1)
    times.pass_by(30)
    assert aggregate.counts()[A].last_minute == (5, 1, 0)
    times.pass_by(30)
    assert aggregate.counts()[A].last_minute == (0, 0, 0)
    assert aggregate.counts()[A].statuses == {200: 9, 404: 2, 429: 1, 500: 1}


def test_counts_handed_out_do_not_change_with_later_reports(aggregate: Aggregate) -> None:
    aggregate.add(report(1, served_counts(statuses={200: 1}, latency=[1])))
    seen = aggregate.counts()[A]
    aggregate.add(report(2, served_counts(statuses={200: 1}, latency=[1])))
    assert seen.statuses == {200: 1}
    assert seen.latency.count == 1


def test_requests_to_no_endpoint_are_counted_and_have_no_minutes(aggregate: Aggregate, times: Times) -> None:
    aggregate.add(report(1, served_counts(endpoint="", endpoint_id="", served="", statuses={404: 2})))
    assert requests(aggregate, EntityKey("", "")) == 2
    assert aggregate.take_minutes(times.wall + MINUTE_MS) == {}
    aggregate.retain({})
    assert requests(aggregate, EntityKey("", "")) == 2


def test_times_in_other_buckets_are_left_out_and_the_requests_counted(
    aggregate: Aggregate, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    odd = served_counts(statuses={200: 2}).model_copy(update={"latency": Distribution(counts=(1, 1), total=5)})
    aggregate.add(report(1, odd))
    assert requests(aggregate) == 2
    assert aggregate.counts()[A].latency.count == 0
    [minute] = aggregate.take_minutes(times.wall + MINUTE_MS).values()
    assert (minute.requests, minute.latency.count) == (2, 0)
    assert "other buckets" in caplog.text


def test_minutes_hold_what_came_in_them(aggregate: Aggregate, times: Times) -> None:
    aggregate.add(report(1, served_counts(statuses={200: 2, 400: 1}, latency=[1, 2, 3], batch=[2, 2])))
    times.pass_by(60)
    aggregate.add(report(2, served_counts(statuses={503: 4})))
    aggregate.cold_start("e1", "a", 0.4)
    taken = aggregate.take_minutes(NOON + MINUTE_MS)
    assert list(taken) == [MinuteKey("e1", "a", NOON)]
    first = taken[MinuteKey("e1", "a", NOON)]
    assert (first.requests, first.ok_2xx, first.errors_4xx, first.errors_5xx) == (3, 2, 1, 0)
    assert (first.latency.count, first.batch_total, first.batch_count) == (3, 4, 2)
    assert aggregate.take_minutes(NOON + MINUTE_MS) == {}
    second = aggregate.take_minutes(NOON + 2 * MINUTE_MS)[MinuteKey("e1", "a", NOON + MINUTE_MS)]
    assert (second.requests, second.errors_5xx, second.cold_starts) == (4, 4, 1)


def test_minutes_put_back_are_taken_again_and_bounded(aggregate: Aggregate, times: Times) -> None:
    aggregate.add(report(1, served_counts(statuses={200: 1})))
    taken = aggregate.take_minutes(NOON + MINUTE_MS)
    aggregate.add(report(2, served_counts(statuses={200: 2})))
    aggregate.put_back(taken)
    assert aggregate.unwritten("e1")[MinuteKey("e1", "a", NOON)].requests == 3
    for minute in range(100):
        aggregate.put_back({MinuteKey("e1", "a", NOON + minute * MINUTE_MS): Minute()})
    kept = aggregate.take_minutes(NOON + 1000 * MINUTE_MS)
    assert len(kept) == 60
    assert min(key.minute for key in kept) == NOON + 40 * MINUTE_MS


def test_requests_in_flight_are_of_all_gateways_that_still_speak(aggregate: Aggregate, times: Times) -> None:
    aggregate.observe_load("g1", {A: 3})
    times.pass_by(6)
    aggregate.observe_load("g2", {A: 4})
    assert aggregate.in_flight() == {A: 7}
    times.pass_by(6)
    assert aggregate.in_flight() == {A: 4}
    aggregate.observe_load("g2", {})
    assert aggregate.in_flight() == {}
    [minute] = aggregate.take_minutes(NOON + MINUTE_MS).values()
    assert minute.used_concurrency == 7


def test_gauges_of_a_minute_are_averages_and_the_most(aggregate: Aggregate) -> None:
    aggregate.observe_gauges({A: EntityGauges(None, 10.0, 1, 4)})
    aggregate.observe_gauges({A: EntityGauges(30.0, 20.0, 2, 8)})
    aggregate.observe_gauges({A: EntityGauges(50.0, 60.0, 1, 4)})
    [minute] = aggregate.take_minutes(NOON + MINUTE_MS).values()
    assert (minute.cpu.value, minute.memory.value) == (40.0, 30.0)
    assert (minute.replicas, minute.provisioned_concurrency) == (2, 8)


def test_deleted_endpoints_and_served_entities_leave(aggregate: Aggregate, times: Times) -> None:
    for position, (endpoint_id, served) in enumerate([("e1", "a"), ("e1", "old"), ("e1", ""), ("e2", "a")]):
        aggregate.add(report(position, served_counts(endpoint_id, served, statuses={200: 1})))
    aggregate.replica_ended("e2", "a")
    aggregate.retain({"e1": {"a"}})
    assert set(aggregate.counts()) == {("e1", "a"), ("e1", "old"), ("e1", "")}
    assert all(key.endpoint_id == "e1" for key in aggregate.take_minutes(times.wall + MINUTE_MS))
    times.pass_by(61)
    aggregate.retain({"e1": {"a"}})
    assert set(aggregate.counts()) == {("e1", "a"), ("e1", "")}


def test_cold_starts_and_restarts_are_counted(aggregate: Aggregate) -> None:
    aggregate.cold_start("e1", "a", 0.37)
    aggregate.cold_start("e1", "a", 7)
    aggregate.replica_ended("e1", "a")
    counts = aggregate.counts()[A]
    assert (counts.cold_starts.count, counts.restarts) == (2, 1)
    assert counts.cold_starts.total == pytest.approx(7.37)


def histogram(*values: float) -> Histogram:
    one = Histogram(DURATION_BUCKETS_MS)
    one.add(distribution(DURATION_BUCKETS_MS, values))
    return one


def test_percentiles_are_linear_within_a_bucket() -> None:
    assert histogram().percentile(0.5) is None
    assert histogram(*[15.0] * 100).percentile(0.5) == 15.0  # in the middle of 10 to 20
    assert histogram(*[0.1] * 4).percentile(0.5) == 0.25  # from zero
    assert histogram(*[1.5] * 99, 800).percentile(0.99) == 2.0
    assert histogram(*[1.5] * 98, 800, 800).percentile(0.99) == 750.0
    assert histogram(1e9).percentile(0.5) == 300_000


def test_merged_histograms_have_the_percentiles_of_all_observations() -> None:
    together = histogram(*range(1, 40))
    together.add(histogram(*range(40, 400)))
    whole = histogram(*range(1, 400))
    assert together.counts == whole.counts
    assert together.total == whole.total
    assert [together.percentile(q) for q in (0, 0.5, 0.99, 1)] == [whole.percentile(q) for q in (0, 0.5, 0.99, 1)]


def test_a_histogram_survives_being_stored_also_when_the_buckets_changed() -> None:
    one = histogram(0.2, 3, 3, 9e9)
    assert one.stored() == {"0.5": 1, "5": 2, "+Inf": 1}
    same = Histogram(DURATION_BUCKETS_MS)
    same.add_stored(one.stored(), one.total)
    assert (same.counts, same.total) == (one.counts, one.total)
    coarser = Histogram((4, 100))
    coarser.add_stored(one.stored(), one.total)
    assert coarser.counts == [1, 2, 1]
    assert histogram(200_000).stored() == {"300000": 1}
