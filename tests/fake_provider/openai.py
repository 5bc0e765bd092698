"""OpenAI: its errors, its key, and which of its calls is answered by what."""

from __future__ import annotations

from .checks import Invalid, Problem
from .control import Script
from .openai_chat import completed as chat_completed
from .openai_responses import responded
from .openai_rules import ask_of, check_chat
from .openai_texts import completed, embedded
from .wire import Dialect, Plain, Refused, Reply, Request, answer, sse

_TYPES = {
    400: "invalid_request_error", 401: "invalid_request_error", 403: "invalid_request_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}  # fmt: skip
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def error(status: int, message: str, param: str | None = None, code: str | None = None) -> Plain:
    kind = _TYPES.get(status, "server_error")
    told = {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}
    return answer({"error": told}, status, x_request_id="req_fake")


def error_event(status: int, message: str) -> bytes:
    kind = _TYPES.get(status, "server_error")
    return sse({"error": {"message": message, "type": kind, "param": None, "code": _CODES.get(status)}})


def invalid(wrong: Invalid) -> Plain:
    """How OpenAI words what is wrong with a field."""
    if not wrong.path:
        return error(400, "We could not parse the JSON body of your request: expected an object.")
    indexed = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in wrong.path.split("."))[1:]
    match wrong.problem:
        case Problem.UNKNOWN:
            return error(400, f"Unknown parameter: '{indexed}'.", indexed, "unknown_parameter")
        case Problem.MISSING:
            return error(400, f"Missing required parameter: '{indexed}'.", indexed, "missing_required_parameter")
        case Problem.TYPE:
            return error(400, f"Invalid type for '{indexed}': expected {wrong.detail}.", indexed, "invalid_type")
    return error(400, f"Invalid value for '{indexed}': {wrong.detail}.", indexed, "invalid_value")


DIALECT = Dialect("openai", error, error_event)
RESPONSES_DIALECT = Dialect(
    "openai",
    error,
    lambda status, message: sse(
        {"type": "error", "code": _CODES.get(status, "server_error"), "message": message, "param": None,
         "sequence_number": 99}, "error",
    ),
)  # fmt: skip


def bearer(request: Request) -> str:
    """The token of the Authorization header; empty when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def check_key(request: Request, script: Script) -> None:
    given = bearer(request)
    if not given:
        raise Refused(
            error(401, "You didn't provide an API key. You need to provide your API key in an "
                       "Authorization header using "
                       "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
        )  # fmt: skip
    if given != script.keys["openai"]:
        masked = f"{given[:3]}{'*' * 8}{given[-4:]}"
        raise Refused(
            error(401, f"Incorrect API key provided: {masked}. You can find your API key at "
                       "https://platform.openai.com/account/api-keys.")
        )  # fmt: skip


def chat(request: Request, script: Script) -> Reply:
    check_key(request, script)
    check_chat(request.json)
    return chat_completed(request.json, ask_of(request.json), script)


def completions(request: Request, script: Script) -> Reply:
    check_key(request, script)
    return completed(request.json, script)


def embeddings(request: Request, script: Script) -> Reply:
    check_key(request, script)
    return embedded(request.json, script)


def responses(request: Request, script: Script) -> Reply:
    check_key(request, script)
    return responded(request.json, script)


def models(request: Request, script: Script) -> Reply:
    check_key(request, script)
    names = ("fake-chat", "fake-embedding")
    data = [{"id": name, "object": "model", "created": 1700000000, "owned_by": "fake"} for name in names]
    return answer({"object": "list", "data": data})
