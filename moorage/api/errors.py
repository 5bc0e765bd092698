"""The one error shape of the API, `{"error_code", "message"}`, and the errors that take it.

A cause is a class; each carries its HTTP status and `error_code`. Source: what the public clients read
(databricks-sdk `errors`, MLflow `rest_utils`) and the error lists of the Databricks REST reference.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A failure that a caller sees. Subclasses fix `status` and `error_code`."""

    status = 500
    error_code = "INTERNAL_ERROR"

    def __init__(self, message: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The JSON document of the answer."""
        return {"error_code": self.error_code, "message": self.message, **self.extra}


class BadRequest(ApiError):
    status = 400
    error_code = "BAD_REQUEST"


class InvalidParameterValue(ApiError):
    status = 400
    error_code = "INVALID_PARAMETER_VALUE"


class MalformedRequest(ApiError):
    """Fields that contradict each other. Only for routes whose reference says so: MLflow shows it as 500."""

    status = 400
    error_code = "MALFORMED_REQUEST"


class ResourceLimitExceeded(ApiError):
    status = 400
    error_code = "RESOURCE_LIMIT_EXCEEDED"


class Unauthenticated(ApiError):
    status = 401
    error_code = "UNAUTHENTICATED"

    def __init__(
        self,
        message: str = "Credential was not sent or was of an unsupported type for this API.",
        **extra: Any,
    ) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Basic realm="Moorage"'}, **extra)


class InvalidToken(ApiError):
    status = 403
    error_code = "PERMISSION_DENIED"

    def __init__(self, message: str = "Invalid access token.") -> None:
        super().__init__(message)


class PermissionDenied(ApiError):
    status = 403
    error_code = "PERMISSION_DENIED"


class ResourceDoesNotExist(ApiError):
    status = 404
    error_code = "RESOURCE_DOES_NOT_EXIST"


class NotFound(ApiError):
    """As the routes say it whose error list has `NOT_FOUND`."""

    status = 404
    error_code = "NOT_FOUND"


class EndpointNotFound(ApiError):
    """An unknown serving endpoint on the data plane, or an unknown route of the API."""

    status = 404
    error_code = "ENDPOINT_NOT_FOUND"


class ResourceAlreadyExists(ApiError):
    status = 409
    error_code = "RESOURCE_ALREADY_EXISTS"


class AlreadyExists(ApiError):
    """A file that is there already. Source: Databricks REST reference, Files API."""

    status = 409
    error_code = "ALREADY_EXISTS"


class ResourceConflict(ApiError):
    status = 409
    error_code = "RESOURCE_CONFLICT"


class PreconditionFailed(ApiError):
    status = 412
    error_code = "PRECONDITION_FAILED"


class UnsupportedMediaType(ApiError):
    status = 415
    error_code = "BAD_REQUEST"


class RangeNotSatisfiable(ApiError):
    """A range that begins behind the end of a file of `size` bytes."""

    status = 416
    error_code = "RANGE_NOT_SATISFIABLE"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"The range begins behind the end of the file, which has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )


class RequestLimitExceeded(ApiError):
    status = 429
    error_code = "REQUEST_LIMIT_EXCEEDED"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_seconds)})


class QuotaExceeded(ApiError):
    status = 400
    error_code = "QUOTA_EXCEEDED"


class InternalError(ApiError):
    status = 500
    error_code = "INTERNAL_ERROR"


class NotImplementedHere(ApiError):
    status = 501
    error_code = "NOT_IMPLEMENTED"


class TemporarilyUnavailable(ApiError):
    status = 503
    error_code = "TEMPORARILY_UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_seconds)})


class DeadlineExceeded(ApiError):
    status = 504
    error_code = "DEADLINE_EXCEEDED"
