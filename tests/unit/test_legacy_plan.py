"""What should serve a registered model by stage: single cases, and what holds after any series of changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.api.endpoints import ConfigUpdate
from moorage.api.legacy import Stage, WorkloadConfigSpec
from moorage.api.wire import check_name
from moorage.api.workloads import WorkloadSize
from moorage.control.legacy.plan import Entity, Plan, Progress, plan
from moorage.control.lifecycle import DeploymentPhase

MODEL = "ads"
SMALL, LARGE = (WorkloadConfigSpec(workload_size_id=size) for size in (WorkloadSize.SMALL, WorkloadSize.LARGE))
SLEEPY = WorkloadConfigSpec(scale_to_zero_enabled=True)
STAGING, PRODUCTION = Stage.STAGING, Stage.PRODUCTION
COMING, UP, FAILED = Progress.COMING, Progress.UP, Progress.FAILED
ALL_SMALL = {STAGING: SMALL, PRODUCTION: SMALL}


def there(name: str, progress: Progress = UP, workload: WorkloadConfigSpec = SMALL) -> Entity:
    """An entity that has been made; the version is behind the first dash."""
    return Entity(name, name.split("-")[1], workload, progress, f"id-of-{name}")


def made(wanted: Plan, **progress: Progress) -> list[Entity]:
    """The entities of a plan after they were made; `progress` is by name with `_` for `-`."""
    return [
        replace(
            one,
            deployment_id=one.deployment_id or f"id-of-{one.name}",
            progress=progress.get(one.name.replace("-", "_"), one.progress),
        )
        for one in wanted.entities
    ]


def names(wanted: Plan) -> list[str]:
    return [one.name for one in wanted.entities]


def planned(
    stages: Mapping[str, str],
    present: Iterable[Entity] = (),
    aliases: Mapping[str, str] | None = None,
    compute: Mapping[Stage, WorkloadConfigSpec] = ALL_SMALL,
) -> Plan:
    return plan(MODEL, stages, compute, list(present), aliases or {})


@pytest.mark.parametrize(
    ("phase", "progress"),
    [
        ("PENDING", COMING),
        ("FETCHING", COMING),
        ("BUILDING", COMING),
        ("STARTING", COMING),
        ("READY", UP),
        ("RECOVERING", UP),
        ("FAILED", FAILED),
        ("ABORTED", FAILED),
        ("RETIRING", FAILED),
        ("RETIRED", FAILED),
    ],
)
def test_how_far_a_deployment_has_come(phase: str, progress: Progress) -> None:
    assert Progress.of(DeploymentPhase(phase)) is progress


def test_nothing_in_a_served_stage_is_nothing_to_have() -> None:
    assert planned({}) == Plan((), {}, {}, None, ConfigUpdate.NOT_UPDATING)
    assert planned({}, [there("ads-1")], {"1": "ads-1", "Production": "ads-1"}).entities == ()


def test_every_version_of_a_served_stage_has_an_entity_with_its_stages_workload() -> None:
    wanted = planned(
        {"10": "Production", "2": "Staging", "9": "Production"}, compute={STAGING: SMALL, PRODUCTION: LARGE}
    )
    assert wanted == Plan(
        entities=(
            Entity("ads-2", "2", SMALL),
            Entity("ads-9", "9", LARGE),
            Entity("ads-10", "10", LARGE),
        ),
        aliases={
            "2": "ads-2",
            "9": "ads-9",
            "10": "ads-10",
            "Staging": "ads-2",
            "Production": "ads-10",
        },
        targets={"2": "ads-2", "9": "ads-9", "10": "ads-10"},
        drawn="ads-10",
        config_update=ConfigUpdate.IN_PROGRESS,
    )


@pytest.mark.parametrize(
    ("stages", "drawn"),
    [
        ({"1": "Production", "2": "Staging"}, "ads-1"),
        ({"1": "Staging", "2": "Staging"}, "ads-2"),
        ({}, None),
    ],
)
def test_production_is_drawn_before_staging(stages: dict[str, str], drawn: str | None) -> None:
    assert planned(stages).drawn == drawn


CASES = {
    "the newest of a stage answers, and its older versions are served too": (
        {"1": "Production", "2": "Production"},
        [there("ads-1"), there("ads-2")],
        {"Production": "ads-1"},
        ["ads-1", "ads-2"],
        {"1": "ads-1", "2": "ads-2", "Production": "ads-2"},
    ),
    "an archived version answers until its successor is ready": (
        {"2": "Production"},
        [there("ads-1"), there("ads-2", COMING)],
        {"1": "ads-1", "Production": "ads-1"},
        ["ads-1", "ads-2"],
        {"2": "ads-2", "Production": "ads-1"},
    ),
    "also while the successor is yet to be made": (
        {"2": "Production"},
        [there("ads-1")],
        {"1": "ads-1", "Production": "ads-1"},
        ["ads-1", "ads-2"],
        {"2": "ads-2", "Production": "ads-1"},
    ),
    "also when the successor has failed": (
        {"2": "Production"},
        [there("ads-1"), there("ads-2", FAILED)],
        {"1": "ads-1", "Production": "ads-1"},
        ["ads-1", "ads-2"],
        {"2": "ads-2", "Production": "ads-1"},
    ),
    "and leaves when the successor is": (
        {"2": "Production"},
        [there("ads-1"), there("ads-2")],
        {"2": "ads-2", "Production": "ads-1"},
        ["ads-2"],
        {"2": "ads-2", "Production": "ads-2"},
    ),
    "an archived version that is not up is of no use": (
        {"2": "Production"},
        [there("ads-1", FAILED), there("ads-2", COMING)],
        {"Production": "ads-1"},
        ["ads-2"],
        {"2": "ads-2", "Production": "ads-2"},
    ),
    "nor is one whose stage has no version any more": (
        {"2": "Staging"},
        [there("ads-1"), there("ads-2", COMING)],
        {"1": "ads-1", "Production": "ads-1", "2": "ads-2", "Staging": "ads-2"},
        ["ads-2"],
        {"2": "ads-2", "Staging": "ads-2"},
    ),
    "without a holder the newest that is up answers": (
        {"1": "Staging", "2": "Staging", "3": "Staging", "4": "Staging"},
        [there("ads-1"), there("ads-2"), there("ads-3", FAILED), there("ads-4", COMING)],
        {},
        ["ads-1", "ads-2", "ads-3", "ads-4"],
        {"1": "ads-1", "2": "ads-2", "3": "ads-3", "4": "ads-4", "Staging": "ads-2"},
    ),
    "who answered before goes before a newer one that is up": (
        {"1": "Staging", "2": "Staging", "3": "Staging"},
        [there("ads-1"), there("ads-2"), there("ads-3", COMING)],
        {"Staging": "ads-1"},
        ["ads-1", "ads-2", "ads-3"],
        {"1": "ads-1", "2": "ads-2", "3": "ads-3", "Staging": "ads-1"},
    ),
    "an older version that is moved in does not take over": (
        {"1": "Production", "2": "Production"},
        [there("ads-2"), there("ads-1")],
        {"2": "ads-2", "Production": "ads-2"},
        ["ads-1", "ads-2"],
        {"1": "ads-1", "2": "ads-2", "Production": "ads-2"},
    ),
    "versions are compared as numbers": (
        {"9": "Staging", "10": "Staging"},
        [there("ads-9"), there("ads-10")],
        {"Staging": "ads-9"},
        ["ads-9", "ads-10"],
        {"9": "ads-9", "10": "ads-10", "Staging": "ads-10"},
    ),
    "promotion to a stage of the same workload is at once": (
        {"1": "Production"},
        [there("ads-1")],
        {"1": "ads-1", "Staging": "ads-1"},
        ["ads-1"],
        {"1": "ads-1", "Production": "ads-1"},
    ),
    "what left comes back as itself while it is there": (
        {"1": "Staging", "2": "Production"},
        [there("ads-1"), there("ads-2", COMING)],
        {"2": "ads-2", "Production": "ads-1"},
        ["ads-1", "ads-2"],
        {"1": "ads-1", "2": "ads-2", "Staging": "ads-1", "Production": "ads-1"},
    ),
}


@pytest.mark.parametrize(("stages", "present", "aliases", "wanted", "after"), CASES.values(), ids=CASES)
def test_who_answers(
    stages: dict[str, str],
    present: list[Entity],
    aliases: dict[str, str],
    wanted: list[str],
    after: dict[str, str],
) -> None:
    found = planned(stages, present, aliases)
    assert (names(found), found.aliases) == (wanted, after)
    assert found.targets == {version: f"ads-{version}" for version in stages}


def test_promotion_to_a_stage_of_another_workload_keeps_the_old_entity_until_the_new_one_is_up() -> None:
    compute = {STAGING: SMALL, PRODUCTION: LARGE}
    before = [there("ads-1")]
    promoted = planned({"1": "Production"}, before, {"1": "ads-1", "Staging": "ads-1"}, compute)
    assert names(promoted) == ["ads-1", "ads-1-2"]
    assert promoted.entities[1] == Entity("ads-1-2", "1", LARGE)
    assert promoted.aliases == {"1": "ads-1", "Production": "ads-1"}
    assert (promoted.targets, promoted.drawn) == ({"1": "ads-1-2"}, "ads-1")
    assert promoted.config_update is ConfigUpdate.IN_PROGRESS
    done = planned({"1": "Production"}, made(promoted, ads_1_2=UP), promoted.aliases, compute)
    assert (names(done), done.aliases) == (["ads-1-2"], {"1": "ads-1-2", "Production": "ads-1-2"})
    assert done.config_update is ConfigUpdate.NOT_UPDATING


def test_another_workload_is_another_entity_and_the_old_one_answers_meanwhile() -> None:
    stages, larger = {"1": "Production"}, {STAGING: SMALL, PRODUCTION: LARGE}
    before = [there("ads-1")]
    aliases = {"1": "ads-1", "Production": "ads-1"}
    changed = planned(stages, before, aliases, larger)
    assert (names(changed), changed.aliases) == (["ads-1", "ads-1-2"], aliases)
    failed = planned(stages, made(changed, ads_1_2=FAILED), changed.aliases, larger)
    assert (names(failed), failed.aliases) == (["ads-1", "ads-1-2"], aliases)
    assert failed.config_update is ConfigUpdate.UPDATE_FAILED
    done = planned(stages, made(changed, ads_1_2=UP), changed.aliases, larger)
    assert names(done) == ["ads-1-2"]
    assert done.aliases == {"1": "ads-1-2", "Production": "ads-1-2"}


def test_scaling_to_zero_is_another_workload_too() -> None:
    compute = {STAGING: SLEEPY, PRODUCTION: SMALL}
    changed = planned({"1": "Staging"}, [there("ads-1")], {"1": "ads-1", "Staging": "ads-1"}, compute)
    assert changed.entities[1] == Entity("ads-1-2", "1", SLEEPY)


def test_a_workload_that_is_taken_back_is_served_by_what_is_there() -> None:
    stages, aliases = {"1": "Production"}, {"1": "ads-1", "Production": "ads-1"}
    changed = planned(stages, [there("ads-1")], aliases, {STAGING: SMALL, PRODUCTION: LARGE})
    for progress in (COMING, FAILED):
        back = planned(stages, made(changed, ads_1_2=progress), changed.aliases)
        assert back == Plan(
            (there("ads-1"),), aliases, {"1": "ads-1"}, "ads-1", ConfigUpdate.NOT_UPDATING
        )


def test_small_to_large_to_small_may_use_the_first_name_again() -> None:
    stages = {"1": "Production"}
    large = [there("ads-1-2", UP, LARGE)]
    back = planned(stages, large, {"1": "ads-1-2", "Production": "ads-1-2"})
    assert back.entities == (Entity("ads-1", "1", SMALL), large[0])
    assert (back.targets, back.aliases["Production"]) == ({"1": "ads-1"}, "ads-1-2")
    done = planned(stages, made(back, ads_1=UP), back.aliases)
    assert names(done) == ["ads-1"]


def test_a_workload_that_changes_again_before_it_was_there_leaves_the_middle_one_out() -> None:
    stages, aliases = {"1": "Staging"}, {"1": "ads-1", "Staging": "ads-1"}
    changed = planned(stages, [there("ads-1")], aliases, {STAGING: LARGE, PRODUCTION: SMALL})
    again = planned(stages, made(changed), changed.aliases, {STAGING: SLEEPY, PRODUCTION: SMALL})
    assert names(again) == ["ads-1", "ads-1-3"]
    assert (again.targets, again.aliases) == ({"1": "ads-1-3"}, aliases)


def test_an_entity_that_is_up_answers_though_nothing_said_so_before() -> None:
    """The one that answered has failed, and the workload was changed before the one that came up could answer."""
    present = [there("ads-1", FAILED), there("ads-1-2", UP, LARGE)]
    aliases = {"1": "ads-1", "Production": "ads-1"}
    found = planned({"1": "Production"}, present, aliases, {STAGING: SMALL, PRODUCTION: SLEEPY})
    assert names(found) == ["ads-1-2", "ads-1-3"]
    assert found.aliases == {"1": "ads-1-2", "Production": "ads-1-2"}


def test_an_archived_holder_that_comes_back_with_another_workload_answers_for_its_version_meanwhile() -> None:
    present = [there("ads-1"), there("ads-2", COMING)]
    compute = {STAGING: LARGE, PRODUCTION: SMALL}
    stages = {"1": "Staging", "2": "Production"}
    found = planned(stages, present, {"2": "ads-2", "Production": "ads-1"}, compute)
    assert names(found) == ["ads-1", "ads-1-2", "ads-2"]
    assert found.aliases == {"1": "ads-1", "2": "ads-2", "Staging": "ads-1", "Production": "ads-1"}
    assert found.targets == {"1": "ads-1-2", "2": "ads-2"}


def test_the_holder_of_a_stage_gets_its_new_workload_though_the_newest_version_never_comes() -> None:
    stages, larger = {"1": "Production", "2": "Production"}, {STAGING: SMALL, PRODUCTION: LARGE}
    present = [there("ads-1"), there("ads-1-2", UP, LARGE), there("ads-2", FAILED, LARGE)]
    found = planned(stages, present, {"1": "ads-1", "2": "ads-2", "Production": "ads-1"}, larger)
    assert names(found) == ["ads-1-2", "ads-2"]
    assert found.aliases == {"1": "ads-1-2", "2": "ads-2", "Production": "ads-1-2"}
    assert found.config_update is ConfigUpdate.UPDATE_FAILED


@pytest.mark.parametrize("of_two", [COMING, UP, FAILED])
def test_a_version_that_fails_is_no_matter_of_the_others(of_two: Progress) -> None:
    stages = {"1": "Production", "2": "Staging", "3": "Staging"}
    aliases = {"1": "ads-1", "2": "ads-2", "3": "ads-3", "Production": "ads-1", "Staging": "ads-3"}
    found = planned(stages, [there("ads-1"), there("ads-2", of_two), there("ads-3")], aliases)
    assert found.aliases == aliases
    assert found.targets == {"1": "ads-1", "2": "ads-2", "3": "ads-3"}


@pytest.mark.parametrize(
    ("progress", "update"),
    [
        ([UP, UP], ConfigUpdate.NOT_UPDATING),
        ([UP, COMING], ConfigUpdate.IN_PROGRESS),
        ([FAILED, COMING], ConfigUpdate.IN_PROGRESS),
        ([UP, FAILED], ConfigUpdate.UPDATE_FAILED),
    ],
)
def test_how_the_whole_does(progress: list[Progress], update: ConfigUpdate) -> None:
    present = [there(f"ads-{number}", one) for number, one in enumerate(progress, 1)]
    assert planned({"1": "Staging", "2": "Production"}, present).config_update is update


def test_an_old_one_that_has_failed_does_not_count_for_the_whole() -> None:
    present = [there("ads-1", FAILED), there("ads-2")]
    found = planned({"2": "Production"}, present, {"Production": "ads-1"})
    assert found.config_update is ConfigUpdate.NOT_UPDATING


@pytest.mark.parametrize("model", ["prod.ml.fraud", "my model", "ä" * 255, "x" * 63, "a-1", "1"])
def test_names_are_legal_and_no_two_are_the_same(model: str) -> None:
    stages = {str(number): "Staging" for number in range(1, 12)}
    aliases: Mapping[str, str] = {}
    present: list[Entity] = []
    for workload in (SMALL, LARGE, SLEEPY):
        wanted = plan(model, stages, {STAGING: workload, PRODUCTION: SMALL}, present, aliases)
        present = [replace(one, progress=UP) for one in wanted.entities if one.deployment_id is None]
        present += [one for one in wanted.entities if one.deployment_id is not None]
        found = names(wanted)
        assert len(set(found)) == len(found)
        assert [check_name(one) for one in found] == found
        aliases = wanted.aliases
        present = [replace(one, deployment_id=one.name) for one in present]


VERSIONS = st.sampled_from([str(number) for number in (1, 2, 10)])
STAGES = st.sampled_from(list(Stage))
WORKLOADS = st.sampled_from([SMALL, LARGE, SLEEPY])


class Serving(RuleBasedStateMachine):
    """A registry that changes, entities that come up and fail, and a plan that is carried out after some of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: dict[str, str] = {}
        self.compute = dict(ALL_SMALL)
        self.present: list[Entity] = []
        self.aliases: Mapping[str, str] = {}
        self.number = 0

    def plan(self) -> Plan:
        return plan(MODEL, self.stages, self.compute, self.present, self.aliases)

    @initialize(workload=WORKLOADS)
    def begin(self, workload: WorkloadConfigSpec) -> None:
        self.compute[PRODUCTION] = workload

    @rule(version=VERSIONS, stage=STAGES)
    def move(self, version: str, stage: Stage) -> None:
        self.stages[version] = stage.value

    @rule(version=VERSIONS, stage=STAGES)
    def replace_stage(self, version: str, stage: Stage) -> None:
        """Archive what is there."""
        self.stages = {one: held for one, held in self.stages.items() if held != stage}
        self.stages[version] = stage.value

    @rule(version=VERSIONS)
    def archive(self, version: str) -> None:
        self.stages.pop(version, None)

    @rule(stage=STAGES, workload=WORKLOADS)
    def change_compute(self, stage: Stage, workload: WorkloadConfigSpec) -> None:
        self.compute[stage] = workload

    @rule(which=st.integers(0, 20), progress=st.sampled_from([UP, UP, UP, FAILED]))
    def advance(self, which: int, progress: Progress) -> None:
        if self.present:
            which %= len(self.present)
            self.present[which] = replace(self.present[which], progress=progress)

    @rule(which=st.integers(0, 20))
    def try_again(self, which: int) -> None:
        """As a restart does: one that has failed is forgotten."""
        failed = [one for one in self.present if one.progress is FAILED]
        if failed:
            forgotten = failed[which % len(failed)]
            self.present.remove(forgotten)
            self.aliases = {alias: name for alias, name in self.aliases.items() if name != forgotten.name}

    @rule()
    def carry_out(self) -> None:
        wanted = self.plan()
        self.present = []
        for one in wanted.entities:
            self.number += one.deployment_id is None
            self.present.append(replace(one, deployment_id=one.deployment_id or f"made-{self.number}"))
        self.aliases = wanted.aliases

    @rule()
    def everything_comes_up(self) -> None:
        self.present = [replace(one, progress=UP) for one in self.present]
        self.carry_out()

    @invariant()
    def every_version_has_one_target_with_its_stages_workload(self) -> None:
        wanted = self.plan()
        named = {one.name: one for one in wanted.entities}
        assert len(named) == len(wanted.entities)
        assert wanted.targets.keys() == self.stages.keys()
        for version, name in wanted.targets.items():
            assert (named[name].version, named[name].workload) == (
                version,
                self.compute[Stage(self.stages[version])],
            )
        assert len({(one.version, one.workload) for one in wanted.entities}) == len(wanted.entities)

    @invariant()
    def what_there_is_to_have_is_wanted_for_something(self) -> None:
        wanted = self.plan()
        assert {one.name for one in wanted.entities} == {*wanted.targets.values(), *wanted.aliases.values()}
        assert set(wanted.aliases) == {*self.stages, *self.stages.values()}
        holders = [wanted.aliases[one] for one in ("Production", "Staging") if one in wanted.aliases]
        up = [one.name for one in wanted.entities if one.progress is Progress.UP]
        assert wanted.drawn == next((one for one in holders if one in up), next(iter(holders), None))
        assert all(one.progress is UP for one in wanted.entities if one.name not in wanted.targets.values())
        present = {one.name: one for one in self.present}
        for one in wanted.entities:
            if one.deployment_id is not None:
                assert one == present[one.name]
            else:
                assert one.name not in present
                assert one.name in wanted.targets.values()

    @invariant()
    def what_answers_for_a_version_is_of_it_and_up_where_any_is(self) -> None:
        wanted = self.plan()
        named = {one.name: one for one in wanted.entities}
        for version in self.stages:
            answering = named[wanted.aliases[version]]
            assert answering.version == version
            if any(one.version == version and one.progress is UP for one in self.present):
                assert answering.progress is UP
            if named[wanted.targets[version]].progress is UP:
                assert answering.name == wanted.targets[version]

    @invariant()
    def a_stage_is_answered_for_where_that_is_possible(self) -> None:
        wanted = self.plan()
        named = {one.name: one for one in wanted.entities}
        for stage in set(self.stages.values()):
            versions = [one for one in self.stages if self.stages[one] == stage]
            answering = named[wanted.aliases[stage]]
            holder = self.aliases.get(stage)
            up = [one for one in self.present if one.progress is UP]
            if any(one.version in versions or one.name == holder for one in up):
                assert answering.progress is UP
            if answering.version in versions:
                assert answering.name == wanted.aliases[answering.version]
            newest = max(versions, key=int)
            if named[wanted.aliases[newest]].progress is UP:
                assert answering.version == newest

    @invariant()
    def what_is_up_and_answers_for_a_stage_stays_until_another_can(self) -> None:
        wanted = self.plan()
        named = {one.name: one for one in wanted.entities}
        for stage in set(self.stages.values()):
            holder = next((one for one in self.present if one.name == self.aliases.get(stage)), None)
            if holder is None or holder.progress is not UP or holder.name in named:
                continue
            newest = max((one for one in self.stages if self.stages[one] == stage), key=int)
            successor = named[wanted.aliases[stage]]
            assert successor.progress is UP
            assert successor.version in (newest, holder.version)

    @invariant()
    def a_plan_that_is_carried_out_is_the_plan(self) -> None:
        wanted = self.plan()
        again = plan(MODEL, self.stages, self.compute, wanted.entities, wanted.aliases)
        assert again == wanted
        backwards = plan(MODEL, self.stages, self.compute, wanted.entities[::-1], wanted.aliases)
        assert backwards == wanted

    @invariant()
    def the_failure_of_a_version_changes_nothing_for_others(self) -> None:
        wanted = self.plan()
        for failing in self.stages:
            present = [replace(one, progress=FAILED) if one.version == failing else one for one in self.present]
            without = plan(MODEL, self.stages, self.compute, present, self.aliases)
            others = self.stages.keys() - {failing}
            assert {one: without.aliases[one] for one in others} == {one: wanted.aliases[one] for one in others}
            assert without.targets == wanted.targets

    @invariant()
    def when_everything_comes_up_only_the_targets_are_left(self) -> None:
        present, aliases = self.present, self.aliases
        for _ in range(3):
            wanted = plan(MODEL, self.stages, self.compute, present, aliases)
            present = [replace(one, progress=UP, deployment_id=one.name) for one in wanted.entities]
            aliases = wanted.aliases
        assert {one.name for one in wanted.entities} == set(wanted.targets.values())
        assert wanted.config_update is ConfigUpdate.NOT_UPDATING
        for stage in set(self.stages.values()):
            newest = max((one for one in self.stages if self.stages[one] == stage), key=int)
            assert aliases[stage] == wanted.targets[newest]
        assert all(aliases[version] == wanted.targets[version] for version in self.stages)


Serving.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestServing = Serving.TestCase
