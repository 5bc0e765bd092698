"""Comments on versions of registered models, and requests to move these to a stage.

A request is open until somebody approves, rejects or cancels it, and for as long as the version is in another stage.
Source of the rights: Databricks documentation, MLflow model ACLs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from moorage.api.legacy import Stage, TransitionStage
from moorage.api.permissions import ModelLevel
from moorage.api.registry_activities import (
    Activity,
    ActivityAction,
    ActivityAnswer,
    ActivityType,
    CommentAnswer,
    CommentList,
    CommentObject,
    CreateComment,
    CreateTransitionRequest,
    DeleteTransitionRequest,
    ListComments,
    OfComment,
    OfModelVersion,
    TransitionRequest,
    TransitionRequestAnswer,
    TransitionRequestList,
    UpdateComment,
)
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.legacy.service import LegacyService
from moorage.control.store import registered_models
from moorage.control.store import registry_activities as store
from moorage.control.store.engine import reading
from moorage.control.store.models import RegistryComment
from moorage.control.store.models import TransitionRequest as RequestRow
from moorage.identity.ids import new_object_id
from moorage.identity.model_access import require_model_level
from moorage.registry.client import ModelVersion

_NO_STAGE = "None"
_TOKEN = re.compile(r"([0-9]{1,18})-([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class RegistryActivities:
    """Methods about a version raise `ResourceDoesNotExist` when there is no such model or version, `PermissionDenied`
    when the caller lacks the right, and `TemporarilyUnavailable` when the registry does not answer."""

    deps: ControlDependencies
    legacy: LegacyService

    def request_transition(self, caller: Principal, request: CreateTransitionRequest) -> TransitionRequestAnswer:
        """Ask those who may for a version to be moved. Whoever may read the model may ask.

        Raises:
            InvalidParameterValue: the version is in that stage.
            ResourceAlreadyExists: the caller has asked for that before, and nobody has answered.
        """
        level, version = self._seen(caller, request)
        if request.stage == _stage(version):
            raise InvalidParameterValue(
                f"Version {request.version} of registered model '{request.name}' is already in stage "
                f"'{request.stage}'"
            )
        row = RequestRow(
            id=new_object_id(),
            model_name=request.name,
            version=request.version,
            to_stage=request.stage,
            comment=request.comment,
            creator=caller.user_name,
            creator_id=caller.id,
            creation_timestamp=self.deps.clock(),
        )
        try:
            with self.deps.sessions.begin() as session:
                store.insert_request(session, row)
        except store.AlreadyRequested:
            raise ResourceAlreadyExists(
                f"User '{caller.user_name}' has requested already that version {request.version} of registered model "
                f"'{request.name}' be moved to '{request.stage}'"
            ) from None
        return TransitionRequestAnswer(request=_request(row, caller, level, version))

    def transition_requests(self, caller: Principal, request: OfModelVersion) -> TransitionRequestList:
        """The open requests about a version."""
        level, version = self._seen(caller, request)
        rows = self._open(request)
        return TransitionRequestList(requests=tuple(_request(row, caller, level, version) for row in rows))

    def approve(self, caller: Principal, request: TransitionStage) -> ActivityAnswer:
        """Move the version, as those who have open requests to that stage want it.

        Raises:
            ResourceDoesNotExist: nobody has, too.
            InvalidParameterValue: the registry refuses it.
        """
        version = self._decided(caller, request)
        self.legacy.transition(caller, request)
        return self._done(caller, ActivityType.APPROVED_REQUEST, request, version)

    def reject(self, caller: Principal, request: CreateTransitionRequest) -> ActivityAnswer:
        """Close the open requests to that stage. Who may move the version there may do that.

        Raises:
            ResourceDoesNotExist: nobody has one, too.
        """
        version = self._decided(caller, request)
        with self.deps.sessions.begin() as session:
            store.forget_requests(session, request.name, request.version, request.stage)
        return self._done(caller, ActivityType.REJECTED_REQUEST, request, version)

    def cancel(self, caller: Principal, request: DeleteTransitionRequest) -> ActivityAnswer:
        """Take back the request of one user: their own, or, for whoever manages the model, anybody's.

        Raises:
            ResourceDoesNotExist: that user has none, too.
        """
        level, version = self._seen(caller, request)
        theirs = [row for row in self._open(request, request.stage) if row.creator == request.creator]
        if not theirs:
            raise _no_request(request, f" by '{request.creator}'")
        if any(row.creator_id != caller.id for row in theirs):
            _require(level, ModelLevel.CAN_MANAGE, caller, f"cancel the transition request of '{request.creator}'")
        with self.deps.sessions.begin() as session:
            store.forget_requests(session, request.name, request.version, request.stage, request.creator)
        return self._done(caller, ActivityType.CANCELLED_REQUEST, request, version)

    def comment(self, caller: Principal, request: CreateComment) -> CommentAnswer:
        """Say something about a version. Whoever may read the model may."""
        level, _ = self._seen(caller, request)
        now = self.deps.clock()
        row = RegistryComment(
            id=new_object_id(),
            model_name=request.name,
            version=request.version,
            comment=request.comment,
            creator=caller.user_name,
            creator_id=caller.id,
            creation_timestamp=now,
            last_updated_timestamp=now,
        )
        with self.deps.sessions.begin() as session:
            session.add(row)
        return CommentAnswer(comment=_comment(row, caller, level))

    def comments(self, caller: Principal, request: ListComments) -> CommentList:
        """A page of what was said about a version.

        Raises:
            InvalidParameterValue: no answer has had such a page token.
        """
        after = _after(request.page_token)
        level, _ = self._seen(caller, request)
        with reading(self.deps.sessions) as session:
            rows = store.comments(session, request.name, request.version, after, request.max_results + 1)
        page = rows[: request.max_results]
        return CommentList(
            comments=tuple(_comment(row, caller, level) for row in page),
            next_page_token=f"{page[-1].creation_timestamp}-{page[-1].id}" if len(rows) > len(page) else None,
        )

    def edit_comment(self, caller: Principal, request: UpdateComment) -> CommentAnswer:
        """Put other words into a comment: one's own, or, for whoever manages the model, anybody's.

        Raises:
            ResourceDoesNotExist: no such comment.
            PermissionDenied: it is another's, or the caller may not read the model any more.
        """
        with self.deps.sessions.begin() as session:
            row, level = self._own_comment(session, caller, request)
            row.comment = request.comment
            row.last_updated_timestamp = self.deps.clock()
        return CommentAnswer(comment=_comment(row, caller, level))

    def delete_comment(self, caller: Principal, request: OfComment) -> None:
        """Remove a comment; whose, and what it raises, as `edit_comment`."""
        with self.deps.sessions.begin() as session:
            row, _ = self._own_comment(session, caller, request)
            session.delete(row)

    def _own_comment(
        self, session: Session, caller: Principal, request: OfComment
    ) -> tuple[RegistryComment, ModelLevel]:
        row = store.comment(session, request.id)
        if row is None:
            raise ResourceDoesNotExist(f"Comment with id '{request.id}' not found.")
        rights = registered_models.rights(session, row.model_name)
        level = require_model_level(caller, row.model_name, rights, ModelLevel.CAN_READ)
        if row.creator_id != caller.id:
            _require(level, ModelLevel.CAN_MANAGE, caller, f"change the comment of '{row.creator}'")
        return row, level

    def _seen(self, caller: Principal, request: OfModelVersion | TransitionStage) -> tuple[ModelLevel, ModelVersion]:
        """The caller's level on the model, and the version.

        What was said of a version that is gone is forgotten, and so are requests that a move past this server has
        granted: they must not come back with the next move.
        """
        name, number = request.name, request.version
        with reading(self.deps.sessions) as session:
            rights = registered_models.rights(session, name)
        level = require_model_level(caller, name, rights, ModelLevel.CAN_READ)
        try:
            version = self.deps.registry.model_version(name, number)
        except ResourceDoesNotExist:
            with self.deps.sessions.begin() as session:
                store.forget_version(session, name, number)
            raise
        if any(row.to_stage == _stage(version) for row in self._open(request)):
            with self.deps.sessions.begin() as session:
                store.forget_requests(session, name, number, _stage(version))
        return level, version

    def _decided(self, caller: Principal, request: CreateTransitionRequest | TransitionStage) -> ModelVersion:
        """The version, when the caller may move it to that stage and somebody wants that."""
        level, version = self._seen(caller, request)
        what = f"answer transition requests from '{_stage(version)}' to '{request.stage}'"
        _require(level, _needed(version, request.stage), caller, what)
        if not self._open(request, request.stage):
            raise _no_request(request)
        return version

    def _open(self, request: OfModelVersion | TransitionStage, stage: str | None = None) -> list[RequestRow]:
        """The requests about a version, to that stage or to any."""
        with reading(self.deps.sessions) as session:
            rows = store.requests(session, request.name, request.version)
        return [row for row in rows if stage in (None, row.to_stage)]

    def _done(
        self,
        caller: Principal,
        what: ActivityType,
        request: CreateTransitionRequest | TransitionStage,
        before: ModelVersion,
    ) -> ActivityAnswer:
        now = self.deps.clock()
        return ActivityAnswer(
            activity=Activity(
                id=new_object_id(),
                activity_type=what,
                user_id=caller.user_name,
                creation_timestamp=now,
                last_updated_timestamp=now,
                from_stage=_stage(before),
                to_stage=request.stage,
                comment=request.comment or None,
            )
        )


def _after(token: str) -> tuple[int, str]:
    """The timestamp and the id of the last comment of the page before."""
    if not token:
        return 0, ""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParameterValue("Invalid value for 'page_token': must be the next_page_token of an answer")
    return int(match[1]), match[2]


def _stage(version: ModelVersion) -> str:
    return version.stage or _NO_STAGE


def _needed(version: ModelVersion, to_stage: str) -> ModelLevel:
    """What moving the version there takes."""
    if Stage.PRODUCTION in (to_stage, _stage(version)):
        return ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS
    return ModelLevel.CAN_MANAGE_STAGING_VERSIONS


def _require(level: ModelLevel, needed: ModelLevel, caller: Principal, what: str) -> None:
    if not level.allows(needed):
        raise PermissionDenied(
            f"User '{caller.user_name}' may not {what}: that takes {needed} permission on the registered model."
        )


def _no_request(request: CreateTransitionRequest | TransitionStage, whose: str = "") -> ResourceDoesNotExist:
    return ResourceDoesNotExist(
        f"There is no open request{whose} to move version {request.version} of registered model '{request.name}' to "
        f"'{request.stage}'"
    )


def _request(row: RequestRow, caller: Principal, level: ModelLevel, version: ModelVersion) -> TransitionRequest:
    actions: list[ActivityAction] = []
    if level.allows(_needed(version, row.to_stage)):
        actions += (ActivityAction.APPROVE_TRANSITION_REQUEST, ActivityAction.REJECT_TRANSITION_REQUEST)
    if row.creator_id == caller.id or level.allows(ModelLevel.CAN_MANAGE):
        actions.append(ActivityAction.CANCEL_TRANSITION_REQUEST)
    return TransitionRequest(
        id=row.id,
        activity_type=ActivityType.REQUESTED_TRANSITION,
        user_id=row.creator,
        creation_timestamp=row.creation_timestamp,
        last_updated_timestamp=row.creation_timestamp,
        from_stage=_stage(version),
        to_stage=row.to_stage,
        comment=row.comment or None,
        available_actions=tuple(actions),
    )


def _comment(row: RegistryComment, caller: Principal, level: ModelLevel) -> CommentObject:
    own = row.creator_id == caller.id or level.allows(ModelLevel.CAN_MANAGE)
    return CommentObject(
        id=row.id,
        user_id=row.creator,
        creation_timestamp=row.creation_timestamp,
        last_updated_timestamp=row.last_updated_timestamp,
        comment=row.comment,
        available_actions=(ActivityAction.EDIT_COMMENT, ActivityAction.DELETE_COMMENT) if own else (),
    )
