"""Comments on model versions, and requests to move these to a stage.

Source: Databricks REST reference, workspace model registry; the list of comments is Moorage's own.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.legacy import TransitionStage
from moorage.api.registry_activities import (
    ActivityAnswer,
    CommentAnswer,
    CommentList,
    CreateComment,
    CreateTransitionRequest,
    DeleteTransitionRequest,
    ListComments,
    OfComment,
    OfModelVersion,
    TransitionRequestAnswer,
    TransitionRequestList,
    UpdateComment,
)
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.registry_activities import RegistryActivities
from moorage.control.routers.requests import parameters

router = APIRouter(prefix="/api/2.0/mlflow", tags=["model registry"])


def _service(request: Request) -> RegistryActivities:
    return cast(RegistryActivities, request.app.state.registry_activities)


Activities = Annotated[RegistryActivities, Depends(_service)]
Version = Annotated[OfModelVersion, Depends(parameters(OfModelVersion))]
Comments = Annotated[ListComments, Depends(parameters(ListComments))]
Cancelled = Annotated[DeleteTransitionRequest, Depends(parameters(DeleteTransitionRequest))]
Comment = Annotated[OfComment, Depends(parameters(OfComment))]


@router.post("/transition-requests/create", response_model_exclude_none=True)
def create_transition_request(
    caller: Caller, activities: Activities, body: CreateTransitionRequest
) -> TransitionRequestAnswer:
    return activities.request_transition(caller, body)


@router.get("/transition-requests/list", response_model_exclude_none=True)
def list_transition_requests(caller: Caller, activities: Activities, given: Version) -> TransitionRequestList:
    return activities.transition_requests(caller, given)


@router.post("/transition-requests/approve", response_model_exclude_none=True)
def approve_transition_request(caller: Caller, activities: Activities, body: TransitionStage) -> ActivityAnswer:
    return activities.approve(caller, body)


@router.post("/transition-requests/reject", response_model_exclude_none=True)
def reject_transition_request(
    caller: Caller, activities: Activities, body: CreateTransitionRequest
) -> ActivityAnswer:
    return activities.reject(caller, body)


@router.delete("/transition-requests/delete", response_model_exclude_none=True)
def delete_transition_request(caller: Caller, activities: Activities, given: Cancelled) -> ActivityAnswer:
    return activities.cancel(caller, given)


@router.post("/comments/create")
def create_comment(caller: Caller, activities: Activities, body: CreateComment) -> CommentAnswer:
    return activities.comment(caller, body)


@router.get("/comments/list", response_model_exclude_none=True)
def list_comments(caller: Caller, activities: Activities, given: Comments) -> CommentList:
    return activities.comments(caller, given)


@router.patch("/comments/update")
def update_comment(caller: Caller, activities: Activities, body: UpdateComment) -> CommentAnswer:
    return activities.edit_comment(caller, body)


@router.delete("/comments/delete")
def delete_comment(caller: Caller, activities: Activities, given: Comment) -> Empty:
    activities.delete_comment(caller, given)
    return Empty()
