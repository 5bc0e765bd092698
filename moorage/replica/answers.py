"""What a replica answers when a prediction fails, and what it writes into its log about it."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from typing import Any, Dict, Optional

from .process import log

_LONGEST_MESSAGE = 4096

UNEXPECTED_ERROR = (
    "Encountered an unexpected error while evaluating the model. Verify that the serialized input"
    " Dataframe is compatible with the model for inference."
)


@dataclass
class Answer:
    """What goes back for one request: an HTTP status and a JSON body."""

    status: int
    body: bytes


def failure(error: BaseException, request_id: str, with_stack_trace: bool) -> Answer:
    """The error answer, and the line in the log. Only the model's own failures have a traceback to show."""
    from mlflow.exceptions import MlflowException

    trace: Optional[str] = None
    document: Dict[str, Any] = {}
    status, code = 400, "BAD_REQUEST"
    if isinstance(error, MlflowException):
        document = json.loads(error.serialize_as_json())
        status = error.get_http_status_code()
        trace = document.pop("stack_trace", None)
        message = str(document.pop("message", ""))
        cause = error.__context__
        if message == UNEXPECTED_ERROR and cause is not None:
            message = f"{UNEXPECTED_ERROR} Error: {_describe(cause)}"
        code = str(document.pop("error_code", code))
    elif isinstance(error, RecursionError):
        message = "Invalid input. The JSON is nested too deeply."
    else:
        trace = traceback.format_exc()
        if isinstance(error, SystemExit):
            message = f"{UNEXPECTED_ERROR} Error: the model called sys.exit({error.code!r})"
        elif isinstance(error, (TypeError, ValueError)) and "_to_json" in trace:
            message = f"The model's output cannot be written as JSON. Error: {_describe(error)}"
        else:
            message = f"Invalid input. Error: {_describe(error)}"
    # MLflow repeats an unreadable body in its message; the sender has it, and logs are read by others.
    message = message.partition("\nInput: \n")[0]
    log("ERROR", f"request {request_id}: {_shorten(message)}\n{trace or ''}".rstrip())
    document["request_id"] = request_id
    if with_stack_trace and trace is not None:
        document["stack_trace"] = trace
    return error_answer(status, code, message, document)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}... (shortened)"


def error_answer(status: int, code: str, message: str, extra: Optional[Dict[str, Any]] = None) -> Answer:
    return Answer(
        status, json.dumps({"error_code": code, "message": _shorten(message), **(extra or {})}).encode()
    )
