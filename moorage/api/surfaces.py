"""The forms in which language models are queried, each with routes of its own beside `/invocations`."""

from __future__ import annotations

from enum import StrEnum

from moorage.api.external_models import ExternalTask


class Surface(StrEnum):
    """`MESSAGES` is Anthropic's, the others are OpenAI's."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"

    @property
    def task(self) -> ExternalTask:
        """The task of the models that answer in this form."""
        return _TASKS[self]


_TASKS = {
    Surface.CHAT: ExternalTask.CHAT,
    Surface.COMPLETIONS: ExternalTask.COMPLETIONS,
    Surface.EMBEDDINGS: ExternalTask.EMBEDDINGS,
    Surface.RESPONSES: ExternalTask.CHAT,
    Surface.MESSAGES: ExternalTask.CHAT,
}

SURFACE_OF_TASK = {
    ExternalTask.CHAT: Surface.CHAT,
    ExternalTask.COMPLETIONS: Surface.COMPLETIONS,
    ExternalTask.EMBEDDINGS: Surface.EMBEDDINGS,
}
"""The form of `/invocations`."""

SURFACE_PATHS = {
    "/serving-endpoints/chat/completions": Surface.CHAT,
    "/serving-endpoints/completions": Surface.COMPLETIONS,
    "/serving-endpoints/embeddings": Surface.EMBEDDINGS,
    "/serving-endpoints/responses": Surface.RESPONSES,
    "/serving-endpoints/anthropic/v1/messages": Surface.MESSAGES,
}
"""The routes on which the endpoint is named by the field `model` of the body."""
