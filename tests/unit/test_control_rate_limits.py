"""Rate limits on their way from rows to gateways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ANN, ENDPOINTS, ControlPlane, control_plane

from moorage.api.ai_gateway import LimitKey
from moorage.control.rate_limits import LimitsDoNotHold, compiled_limits, require_stored_enforceable
from moorage.control.store import groups
from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, Group, User
from moorage.settings import Settings

MINUTE = {"renewal_period": "minute"}
LIMIT = {"calls": 10, "key": "endpoint", **MINUTE}
TWO_WORKERS = Settings(gateway_workers=2)
SHARED = Settings(gateway_workers=2, redis_url="redis://127.0.0.1")
ROBOT = "0f3a5c3e-7d1e-4f57-9d65-9f0d3ac1d8a1"


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    return response.status_code, document["error_code"], document["message"]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            session.add(Group(id="77", display_name="Data Science", created_at=1))
            session.add(User(id="88", user_name=ROBOT, kind="service_principal", created_at=1))
        yield plane


def compiled(plane: ControlPlane) -> list[tuple[LimitKey, str | None, int | None, int | None]]:
    with reading(plane.sessions) as session:
        endpoint = session.query(Endpoint).one()
        return [(one.key, one.principal_id, one.calls, one.tokens) for one in compiled_limits(session, endpoint)]


def put(plane: ControlPlane, what: str, *limits: dict[str, Any]) -> Any:
    return plane.request("PUT", f"{ENDPOINTS}/ads/{what}", json={"rate_limits": list(limits)})


def test_principals_become_ids_and_unknown_ones_are_left_out(plane: ControlPlane) -> None:
    plane.create()
    limits = [
        {"calls": 1, "key": "user", "principal": "ANN@example.com", **MINUTE},
        {"tokens": 2, "key": "user_group", "principal": "data science", **MINUTE},
        {"calls": 3, "key": "service_principal", "principal": ROBOT, **MINUTE},
        {"calls": 4, "key": "user", **MINUTE},
        {"calls": 5, "key": "user", "principal": ROBOT, **MINUTE},
        {"calls": 6, "key": "user_group", "principal": "nobody", **MINUTE},
    ]
    assert put(plane, "ai-gateway", *limits).status_code == 200
    assert compiled(plane) == [
        (LimitKey.USER, ANN.id, 1, None),
        (LimitKey.USER_GROUP, "77", None, 2),
        (LimitKey.SERVICE_PRINCIPAL, "88", 3, None),
        (LimitKey.USER, None, 4, None),
    ]


def test_both_forms_hold_together(plane: ControlPlane) -> None:
    plane.create()
    assert compiled(plane) == []
    assert put(plane, "rate-limits", LIMIT).status_code == 200
    assert put(plane, "ai-gateway", {"calls": 7, **MINUTE}).status_code == 200
    assert compiled(plane) == [(LimitKey.ENDPOINT, None, 7, None)]


def test_limits_that_no_worker_can_hold_are_refused(tmp_path: Path) -> None:
    with control_plane(tmp_path, gateway_workers=2) as plane:
        plane.create()
        for what in ("rate-limits", "ai-gateway"):
            status, code, message = error(put(plane, what, LIMIT))
            assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
            assert "MOORAGE_REDIS_URL" in message
            assert put(plane, what).status_code == 200
        for fields in ({"rate_limits": [LIMIT]}, {"ai_gateway": {"rate_limits": [LIMIT]}}):
            status, _, message = error(plane.request("POST", ENDPOINTS, json={"name": "more", **fields}))
            assert (status, "MOORAGE_REDIS_URL" in message) == (400, True)


@pytest.mark.parametrize("what", ["rate-limits", "ai-gateway"])
def test_server_does_not_start_with_limits_that_would_not_hold(plane: ControlPlane, what: str) -> None:
    plane.create()
    with reading(plane.sessions) as session:
        require_stored_enforceable(session, TWO_WORKERS)
    assert put(plane, what, LIMIT).status_code == 200
    with reading(plane.sessions) as session:
        require_stored_enforceable(session, SHARED)
        with pytest.raises(LimitsDoNotHold, match=r"'ads'.*MOORAGE_REDIS_URL"):
            require_stored_enforceable(session, TWO_WORKERS)


def test_membership_counts_through_groups(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        session.add(Group(id="78", display_name="inner", created_at=1))
        session.flush()
        groups.add_members(session, "78", [ANN.id])
        groups.add_members(session, "77", ["78"])
    with reading(plane.sessions) as session:
        found = groups.memberships(session)
        assert found.groups_of(ANN.id) == {"77", "78", found.users_id}
        assert found.groups_above("78") == {"77"}
