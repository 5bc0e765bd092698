"""What people say to each other about versions in the model registry: comments, and requests to move a version.

Source: Databricks REST reference, workspace model registry.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from moorage.api.legacy import VersionStage
from moorage.api.served_entities import EntityName, EntityVersion
from moorage.api.wire import Count, ShortText, Text, WireInput, WireOutput

_LONGEST_COMMENT = 65_535
_MOST_COMMENTS = 100

Comment = Annotated[Text, Field(max_length=_LONGEST_COMMENT)]


class ActivityType(StrEnum):
    REQUESTED_TRANSITION = "REQUESTED_TRANSITION"
    APPROVED_REQUEST = "APPROVED_REQUEST"
    REJECTED_REQUEST = "REJECTED_REQUEST"
    CANCELLED_REQUEST = "CANCELLED_REQUEST"


class ActivityAction(StrEnum):
    """What the one who looks at a comment or a request may do with it."""

    APPROVE_TRANSITION_REQUEST = "APPROVE_TRANSITION_REQUEST"
    REJECT_TRANSITION_REQUEST = "REJECT_TRANSITION_REQUEST"
    CANCEL_TRANSITION_REQUEST = "CANCEL_TRANSITION_REQUEST"
    EDIT_COMMENT = "EDIT_COMMENT"
    DELETE_COMMENT = "DELETE_COMMENT"


class OfModelVersion(WireInput):
    """A request about a version of a registered model."""

    name: EntityName
    version: EntityVersion


class CreateTransitionRequest(OfModelVersion):
    """The body that asks for a version to be moved to a stage, and the one that says no to that."""

    stage: VersionStage
    comment: Comment = ""


class DeleteTransitionRequest(CreateTransitionRequest):
    """`creator` is the user name of who asked for it."""

    creator: ShortText


class CreateComment(OfModelVersion):
    comment: Annotated[Comment, Field(min_length=1)]


class ListComments(OfModelVersion):
    """A page of the comments on a version."""

    max_results: Annotated[Count, Field(ge=1, le=_MOST_COMMENTS)] = _MOST_COMMENTS
    page_token: Annotated[Text, Field(max_length=255)] = ""


class OfComment(WireInput):
    """A request about a comment."""

    id: ShortText


class UpdateComment(OfComment):
    comment: Annotated[Comment, Field(min_length=1)]


class Activity(WireOutput):
    """Something that somebody did about the stage of a version.

    `user_id` is a user name, and timestamps are milliseconds since the epoch.
    """

    id: str
    activity_type: ActivityType
    user_id: str
    creation_timestamp: int
    last_updated_timestamp: int
    from_stage: str
    to_stage: str
    comment: str | None = None


class TransitionRequest(Activity):
    """An open request to move a version. `available_actions` are the caller's."""

    available_actions: tuple[ActivityAction, ...]


class CommentObject(WireOutput):
    """A comment on a version, with members as those of `TransitionRequest`."""

    id: str
    user_id: str
    creation_timestamp: int
    last_updated_timestamp: int
    comment: str
    available_actions: tuple[ActivityAction, ...]


class TransitionRequestAnswer(WireOutput):
    request: TransitionRequest


class TransitionRequestList(WireOutput):
    """Oldest first."""

    requests: tuple[TransitionRequest, ...]


class ActivityAnswer(WireOutput):
    activity: Activity


class CommentAnswer(WireOutput):
    comment: CommentObject


class CommentList(WireOutput):
    """A page, oldest first. With a `next_page_token` there are others."""

    comments: tuple[CommentObject, ...]
    next_page_token: str | None = None
