"""What an endpoint that serves a registered model by stage should consist of. Pure: nothing here writes anything.

Each version in a served stage has one entity with the workload of its stage, the target. What answers now stays until
the target can take over: an entity of the same version with an older workload, or, at a stage's URL, the version
that was there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from moorage.api.endpoints import ConfigUpdate
from moorage.api.legacy import Stage, WorkloadConfigSpec
from moorage.api.wire import name_from
from moorage.control.lifecycle import DeploymentPhase

_UP = (DeploymentPhase.READY, DeploymentPhase.RECOVERING)
_ENDED = (DeploymentPhase.FAILED, DeploymentPhase.ABORTED, DeploymentPhase.RETIRING, DeploymentPhase.RETIRED)


class Progress(StrEnum):
    """How far an entity has come."""

    COMING = "coming"
    UP = "up"
    FAILED = "failed"

    @classmethod
    def of(cls, phase: DeploymentPhase) -> Progress:
        if phase in _UP:
            return cls.UP
        return cls.FAILED if phase in _ENDED else cls.COMING


@dataclass(frozen=True, slots=True)
class Entity:
    """A served entity: one version with one workload. `deployment_id` is None for one that is yet to be made."""

    name: str
    version: str
    workload: WorkloadConfigSpec
    progress: Progress = Progress.COMING
    deployment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The entities to have, in order of their versions, and who answers.

    `aliases` maps stages and versions to names of entities, `targets` versions to them. `drawn` is the name of the
    entity that answers queries which name neither.
    """

    entities: tuple[Entity, ...]
    aliases: Mapping[str, str]
    targets: Mapping[str, str]
    drawn: str | None
    config_update: ConfigUpdate


def plan(
    model: str,
    stages: Mapping[str, str],
    compute: Mapping[Stage, WorkloadConfigSpec],
    present: Sequence[Entity],
    aliases: Mapping[str, str],
) -> Plan:
    """What there should be.

    Args:
        stages: the stage of each version in a served one.
        compute: the workload of each stage.
        present: the entities that there are, in the order in which they were made.
        aliases: who answers now, as in the plan before.
    """
    named = {one.name: one for one in present}
    chosen: dict[str, Entity] = {}  # by name: the ones to have
    targets: dict[str, Entity] = {}
    answering: dict[str, Entity] = {}  # by version
    for version in sorted(stages, key=int):
        target = _target(model, version, compute[Stage(stages[version])], present, {*named, *chosen})
        targets[version] = chosen[target.name] = target
        of_version = _of_version(target, named.get(aliases.get(version, "")), present)
        answering[version] = chosen[of_version.name] = of_version

    after = {version: one.name for version, one in answering.items()}
    for stage in Stage:
        newest_first = sorted((one for one in stages if stages[one] == stage), key=int, reverse=True)
        if newest_first:
            holder = named.get(aliases.get(stage, ""))
            if holder is not None and holder.version in newest_first:
                holder = answering[holder.version]
            of_stage = _of_stage([answering[one] for one in newest_first], holder)
            after[stage] = of_stage.name
            chosen[of_stage.name] = of_stage
    holders = [chosen[after[stage]] for stage in (Stage.PRODUCTION, Stage.STAGING) if stage in after]
    up = (one for one in holders if one.progress is Progress.UP)
    drawn = next((one.name for one in (*up, *holders)), None)
    order = sorted(chosen.values(), key=lambda one: (int(one.version), one.name))
    update = _config_update(targets.values())
    return Plan(tuple(order), after, {version: one.name for version, one in targets.items()}, drawn, update)


def _target(
    model: str, version: str, workload: WorkloadConfigSpec, present: Iterable[Entity], taken: set[str]
) -> Entity:
    """The newest entity of the version with that workload, or one to be made."""
    found: Entity | None = None
    for one in present:
        if one.version == version and one.workload == workload:
            found = one
    return found or Entity(_free_name(model, version, taken), version, workload)


def _free_name(model: str, version: str, taken: set[str]) -> str:
    """The default name of a served entity, with a number behind it while another one has it."""
    name, number = name_from(model, f"-{version}"), 1
    while name in taken:
        number += 1
        name = name_from(model, f"-{version}-{number}")
    return name


def _of_version(target: Entity, holder: Entity | None, present: Iterable[Entity]) -> Entity:
    """Who answers for a version: its target when that is up; until then who answered before, else any of its
    entities that is up, else the target."""
    candidates = [target, *([holder] if holder is not None else []), *present]
    of_version = (one for one in candidates if one.version == target.version)
    return next((one for one in of_version if one.progress is Progress.UP), target)


def _of_stage(newest_first: Sequence[Entity], holder: Entity | None) -> Entity:
    """Who answers at a stage's URL: its newest version when that is up; until then who answered before, else the
    newest that is up, else the newest."""
    newest = newest_first[0]
    if newest.progress is Progress.UP:
        return newest
    if holder is not None and holder.progress is Progress.UP:
        return holder
    return next((one for one in newest_first if one.progress is Progress.UP), newest)


def _config_update(targets: Iterable[Entity]) -> ConfigUpdate:
    progress = {one.progress for one in targets}
    if Progress.COMING in progress:
        return ConfigUpdate.IN_PROGRESS
    return ConfigUpdate.UPDATE_FAILED if Progress.FAILED in progress else ConfigUpdate.NOT_UPDATING
