"""What a client is told of a provider's error: status, code, how long to wait, and never a credential."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.api.external_models import ExternalTask, Provider
from moorage.external.exchange import Target
from moorage.external.failures import (
    ProviderError,
    answered_with,
    not_reached,
    status_for_client,
    too_late,
    unreadable,
    without_credentials,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
TARGET = Target(Provider.OPENAI, "m", ExternalTask.CHAT, {}, {"openai_api_key": "sk-secret", "other": ""})


def answered(status: int, text: str = "no", headers: dict[bytes, bytes] | None = None) -> ProviderError:
    return answered_with(TARGET, status, text, headers or {}, NOW)


@pytest.mark.parametrize(
    ("provider", "client", "code", "elsewhere"),
    [
        (400, 400, "BAD_REQUEST", False),
        (401, 401, "UNAUTHENTICATED", False),
        (402, 402, "BAD_REQUEST", False),
        (403, 403, "PERMISSION_DENIED", False),
        (404, 404, "RESOURCE_DOES_NOT_EXIST", False),
        (408, 408, "BAD_REQUEST", False),
        (409, 409, "RESOURCE_CONFLICT", False),
        (413, 413, "BAD_REQUEST", False),
        (422, 422, "BAD_REQUEST", False),
        (429, 429, "REQUEST_LIMIT_EXCEEDED", True),
        (499, 499, "BAD_REQUEST", False),
        (500, 500, "INTERNAL_ERROR", True),
        (501, 501, "NOT_IMPLEMENTED", True),
        (502, 503, "TEMPORARILY_UNAVAILABLE", True),
        (503, 503, "TEMPORARILY_UNAVAILABLE", True),
        (504, 504, "DEADLINE_EXCEEDED", True),
        (520, 500, "INTERNAL_ERROR", True),
        (529, 503, "TEMPORARILY_UNAVAILABLE", True),
        (599, 500, "INTERNAL_ERROR", True),
        (201, 500, "INTERNAL_ERROR", True),
        (302, 500, "INTERNAL_ERROR", True),
        (700, 500, "INTERNAL_ERROR", True),
    ],
)
def test_the_status_that_clients_see(provider: int, client: int, code: str, elsewhere: bool) -> None:
    error = answered(provider, "the words")
    assert status_for_client(provider) == client
    assert (error.status, error.error_code, error.provider_status) == (client, code, provider)
    assert error.another_may_answer is elsewhere
    assert error.message == f"The provider 'openai' answered with status {provider}: the words"
    assert ("Retry-After" in error.headers) is (client in (429, 503))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, "1"),
        ({b"retry-after": b"17"}, "17"),
        ({b"retry-after": b" 17 "}, "17"),
        ({b"retry-after": b"0"}, "0"),
        ({b"retry-after": b"99999999999999999999999"}, "3600"),
        ({b"retry-after": b"-5"}, "1"),
        ({b"retry-after": b"soon"}, "1"),
        ({b"retry-after": b""}, "1"),
        ({b"retry-after": b"\xff\xfe"}, "1"),
        ({b"retry-after": b"Sun, 01 Mar 2026 12:00:30 GMT"}, "30"),
        ({b"retry-after": b"Sunday, 01-Mar-26 12:00:30 GMT"}, "30"),
        ({b"retry-after": b"Sun Mar  1 12:00:30 2026"}, "30"),
        ({b"retry-after": b"Sun, 01 Mar 2026 14:00:30 +0200"}, "30"),
        ({b"retry-after": b"Sun, 01 Mar 2026 11:00:00 GMT"}, "0"),
        ({b"retry-after": b"Fri, 01 Jan 2100 00:00:00 GMT"}, "3600"),
        ({b"retry-after": b"Sun, 99 Mar 2026 12:00:30 GMT"}, "1"),
        ({b"retry-after-ms": b"2500"}, "3"),
        ({b"retry-after-ms": b"2500", b"retry-after": b"60"}, "3"),
        ({b"retry-after-ms": b"1"}, "1"),
        ({b"retry-after-ms": b"-1"}, "0"),
        ({b"retry-after-ms": b"nan"}, "1"),
        ({b"retry-after-ms": b"inf"}, "1"),
        ({b"retry-after-ms": b"much"}, "1"),
    ],
)
def test_how_long_clients_are_told_to_wait(headers: dict[bytes, bytes], seconds: str) -> None:
    assert answered(429, headers=headers).headers == {"Retry-After": seconds}


def test_a_wait_is_passed_on_with_any_status() -> None:
    assert answered(500, headers={b"retry-after": b"3"}).headers == {"Retry-After": "3"}
    assert answered(400).headers == {}


def test_credentials_are_never_repeated() -> None:
    repeated = "Incorrect API key provided: sk-secret. You said 'Bearer sk-secret'."
    for error in (answered(401, repeated), unreadable(TARGET, repeated)):
        assert "sk-secret" not in error.message
        assert "[credential]" in error.message
    assert without_credentials(TARGET, "nothing of it") == "nothing of it"


def test_a_credential_at_the_cut_is_not_repeated_in_part() -> None:
    message = answered(400, "x" * 1995 + "sk-secret").message
    assert "sk-" not in message


def test_a_credential_that_holds_another_is_not_repeated_in_part() -> None:
    target = Target(Provider.OPENAI, "m", ExternalTask.CHAT, {}, {"short": "sk-secret", "long": "sk-secret-and-more"})
    assert "and-more" not in without_credentials(target, "the key sk-secret-and-more is wrong")


def test_messages_are_bounded_and_never_empty() -> None:
    assert len(answered(500, "x" * 100_000).message) < 2100
    assert len(unreadable(TARGET, "x" * 100_000).message) < 2100
    assert answered(500, "  ").message.endswith(": no reason given")


def test_what_is_no_answer_has_a_status_too() -> None:
    errors = [not_reached(TARGET, "why"), too_late(TARGET, 1.0), unreadable(TARGET, "why")]
    assert [(one.status, one.provider_status) for one in errors] == [(503, None), (504, None), (500, None)]
    assert all(one.another_may_answer and "'openai'" in one.message for one in errors)
    assert errors[0].headers == {"Retry-After": "1"}
    assert errors[1].headers == {}
