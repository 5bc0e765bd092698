"""Comments on model versions, and requests to move them: their rights, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane

from moorage.api.legacy import MODEL_STAGES
from moorage.api.routing import Principal
from moorage.control.registry_access import RegistryAccess
from moorage.control.store import permissions, registered_models
from moorage.control.store import registry_activities as store
from moorage.control.store.engine import reading
from moorage.control.store.models import AuditRecord, RegistryComment, TransitionRequest, User
from moorage.control.store.permissions import ObjectType

ROOT = "/api/2.0/mlflow"
TRANSITION = f"{ROOT}/databricks/model-versions/transition-stage"
MODEL = "ads1"
OF_VERSION = {"name": MODEL, "version": "1"}
CAROL = Principal(id="1003", user_name="carol@example.com", display_name="Carol")
APPROVE, REJECT, CANCEL = "APPROVE_TRANSITION_REQUEST", "REJECT_TRANSITION_REQUEST", "CANCEL_TRANSITION_REQUEST"
LONG = "x" * 65_536
EDIT, DELETE = "EDIT_COMMENT", "DELETE_COMMENT"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Ann owns `ads1`; Bob may read it, and Carol may not."""
    with control_plane(tmp_path) as plane:
        plane.registry.add(MODEL, "1", stage="None")
        with plane.sessions.begin() as session:
            session.add(User(id=CAROL.id, user_name=CAROL.user_name, created_at=1))
            registered_models.record_owner(session, MODEL, ANN.id)
        grant(plane, "CAN_READ")
        yield plane


def grant(plane: ControlPlane, level: str, who: Principal = BOB) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, MODEL, who.id, level)


def post(plane: ControlPlane, path: str, caller: Principal, /, **body: Any) -> Any:
    return plane.request("POST", f"{ROOT}/{path}", caller, json={**OF_VERSION, **body})


def ask(plane: ControlPlane, caller: Principal, stage: str, /, **body: Any) -> Any:
    return post(plane, "transition-requests/create", caller, stage=stage, **body)


def answer(plane: ControlPlane, what: str, caller: Principal, stage: str, /, **body: Any) -> Any:
    return post(plane, f"transition-requests/{what}", caller, stage=stage, **body)


def cancel(plane: ControlPlane, caller: Principal, stage: str, creator: Principal) -> Any:
    query = {**OF_VERSION, "stage": stage, "creator": creator.user_name}
    return plane.request("DELETE", f"{ROOT}/transition-requests/delete", caller, params=query)


def requests(plane: ControlPlane, caller: Principal = ANN, **of: str) -> list[dict[str, Any]]:
    listed = plane.request("GET", f"{ROOT}/transition-requests/list", caller, params={**OF_VERSION, **of})
    found: list[dict[str, Any]] = done(listed)["requests"]
    return found


def say(plane: ControlPlane, caller: Principal, comment: str = "looks good", **of: str) -> dict[str, Any]:
    said: dict[str, Any] = done(post(plane, "comments/create", caller, comment=comment, **of))["comment"]
    return said


def edit(plane: ControlPlane, caller: Principal, comment_id: str, comment: str = "changed") -> Any:
    return plane.request(
        "PATCH", f"{ROOT}/comments/update", caller, json={"id": comment_id, "comment": comment}
    )


def remove(plane: ControlPlane, caller: Principal, comment_id: str) -> Any:
    return plane.request("DELETE", f"{ROOT}/comments/delete", caller, params={"id": comment_id})


def comments(plane: ControlPlane, caller: Principal = ANN, **of: str) -> list[dict[str, Any]]:
    listed = plane.request("GET", f"{ROOT}/comments/list", caller, params={**OF_VERSION, **of})
    found: list[dict[str, Any]] = done(listed)["comments"]
    return found


def done(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: Any) -> tuple[int, str, str]:
    document = response.json()
    return response.status_code, document["error_code"], document["message"]


def rows(plane: ControlPlane) -> list[tuple[str, str]]:
    """Model and version of everything that is kept."""
    with reading(plane.sessions) as session:
        kept = [*session.query(RegistryComment), *session.query(TransitionRequest)]
        return sorted((one.model_name, one.version) for one in kept)


def access(plane: ControlPlane) -> RegistryAccess:
    found: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
    return found


def test_a_reader_asks_for_a_move(plane: ControlPlane) -> None:
    asked = done(ask(plane, BOB, "staging", comment="please"))["request"]
    assert asked == {
        "id": asked["id"],
        "activity_type": "REQUESTED_TRANSITION",
        "user_id": BOB.user_name,
        "creation_timestamp": plane.clock.now,
        "last_updated_timestamp": plane.clock.now,
        "from_stage": "None",
        "to_stage": "Staging",
        "comment": "please",
        "available_actions": [CANCEL],
    }
    assert requests(plane, BOB) == [asked]
    assert requests(plane, ANN) == [{**asked, "available_actions": [APPROVE, REJECT, CANCEL]}]
    assert requests(plane, ANN, version="2") == []
    assert plane.registry.model_version(MODEL, "1").stage == "None"


def test_requests_are_listed_oldest_first_and_without_comments_they_have_none(plane: ControlPlane) -> None:
    for caller, stage in ((BOB, "Production"), (ANN, "Staging"), (BOB, "Archived")):
        plane.clock.now += 1
        done(ask(plane, caller, stage))
    listed = requests(plane)
    assert [(one["user_id"], one["to_stage"]) for one in listed] == [
        (BOB.user_name, "Production"), (ANN.user_name, "Staging"), (BOB.user_name, "Archived"),
    ]  # fmt: skip
    assert all("comment" not in one for one in listed)


def test_who_may_not_read_the_model_may_do_nothing(plane: ControlPlane) -> None:
    done(ask(plane, BOB, "Staging"))
    said = say(plane, BOB)
    listed = [
        plane.request("GET", f"{ROOT}/{kind}/list", CAROL, params=OF_VERSION)
        for kind in ("transition-requests", "comments")
    ]
    for response in (
        *listed,
        ask(plane, CAROL, "Staging"),
        answer(plane, "approve", CAROL, "Staging"),
        answer(plane, "reject", CAROL, "Staging"),
        cancel(plane, CAROL, "Staging", BOB),
        post(plane, "comments/create", CAROL, comment="x"),
        edit(plane, CAROL, said["id"]),
        remove(plane, CAROL, said["id"]),
    ):
        assert refused(response)[:2] == (403, "PERMISSION_DENIED"), response.text
        assert "CAN_READ" in response.text
    assert len(rows(plane)) == 2


def test_the_same_user_asks_once(plane: ControlPlane) -> None:
    done(ask(plane, BOB, "Staging"))
    assert refused(ask(plane, BOB, "STAGING"))[:2] == (409, "RESOURCE_ALREADY_EXISTS")
    done(ask(plane, ANN, "Staging"))
    done(ask(plane, BOB, "Production"))
    done(ask(plane, BOB, "Staging", version="2"))
    assert len(requests(plane)) == 3


def test_nobody_asks_for_the_stage_that_the_version_is_in(plane: ControlPlane) -> None:
    status, code, message = refused(ask(plane, BOB, "None"))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "already in stage 'None'" in message
    plane.registry.add(MODEL, "3")  # where MLflow knows no stages it says none
    assert refused(ask(plane, BOB, "None", version="3"))[0] == 400


@pytest.mark.parametrize("version_stage", MODEL_STAGES)
@pytest.mark.parametrize("stage", MODEL_STAGES)
@pytest.mark.parametrize("what", ["approve", "reject"])
def test_a_request_is_answered_by_whoever_may_make_the_move(
    plane: ControlPlane, what: str, stage: str, version_stage: str
) -> None:
    if stage == version_stage:
        return
    plane.registry.add(MODEL, "1", stage=version_stage)
    done(ask(plane, BOB, stage))
    production = "Production" in (stage, version_stage)
    needed = "CAN_MANAGE_PRODUCTION_VERSIONS" if production else "CAN_MANAGE_STAGING_VERSIONS"
    below = "CAN_MANAGE_STAGING_VERSIONS" if production else "CAN_EDIT"
    grant(plane, below, CAROL)
    (seen,) = requests(plane, CAROL)
    assert seen["available_actions"] == []
    status, code, message = refused(answer(plane, what, CAROL, stage))
    assert (status, code) == (403, "PERMISSION_DENIED")
    assert needed in message
    grant(plane, needed, CAROL)
    (seen,) = requests(plane, CAROL)
    assert seen["available_actions"] == [APPROVE, REJECT]
    done(answer(plane, what, CAROL, stage))
    assert requests(plane) == []
    moved_to = stage if what == "approve" else version_stage
    assert plane.registry.model_version(MODEL, "1").stage == moved_to


def test_approving_moves_the_version_and_archives_others(plane: ControlPlane) -> None:
    plane.registry.add(MODEL, "2", stage="Production")
    for caller in (ANN, BOB):
        done(ask(plane, caller, "Production"))
    done(ask(plane, BOB, "Staging"))
    plane.clock.now += 5
    approved = answer(plane, "approve", ANN, "production", archive_existing_versions=True, comment="well done")
    activity = done(approved)["activity"]
    assert len(activity.pop("id")) == 32
    assert activity == {
        "activity_type": "APPROVED_REQUEST",
        "user_id": ANN.user_name,
        "creation_timestamp": plane.clock.now,
        "last_updated_timestamp": plane.clock.now,
        "from_stage": "None",
        "to_stage": "Production",
        "comment": "well done",
    }
    assert [plane.registry.model_version(MODEL, one).stage for one in "12"] == ["Production", "Archived"]
    assert [one["to_stage"] for one in requests(plane)] == ["Staging"]


def test_approving_is_a_move_to_a_model_that_is_served_by_stage(plane: ControlPlane) -> None:
    given = {"registered_model_name": MODEL}
    done(plane.request("POST", "/api/2.0/preview/mlflow/endpoints-v2/enable", ADMIN, json=given))
    done(ask(plane, BOB, "Production"))
    done(answer(plane, "approve", ANN, "Production", comment="well done"))
    events = done(
        plane.request("GET", "/api/2.0/preview/mlflow/endpoints-v2/get-event-history", ANN, params=given)
    )["events"]
    assert "Version 1 moved to Production by ann@example.com: well done" in [one["message"] for one in events]
    assert "The registry has version 1 in Production." in [one["message"] for one in events]


def test_rejecting_leaves_the_version_where_it_is(plane: ControlPlane) -> None:
    done(ask(plane, BOB, "Production"))
    activity = done(answer(plane, "reject", ANN, "Production"))["activity"]
    assert (activity["activity_type"], activity["from_stage"], activity["to_stage"]) == (
        "REJECTED_REQUEST", "None", "Production",
    )  # fmt: skip
    assert "comment" not in activity
    assert plane.registry.model_version(MODEL, "1").stage == "None"
    assert rows(plane) == []


@pytest.mark.parametrize("what", ["approve", "reject"])
def test_only_what_somebody_asked_for_is_answered(plane: ControlPlane, what: str) -> None:
    done(ask(plane, BOB, "Production"))
    status, code, message = refused(answer(plane, what, ANN, "Staging"))
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "no open request" in message
    assert plane.registry.model_version(MODEL, "1").stage == "None"
    assert len(requests(plane)) == 1


def test_a_request_is_taken_back_by_who_made_it_or_manages_the_model(plane: ControlPlane) -> None:
    grant(plane, "CAN_MANAGE_PRODUCTION_VERSIONS", CAROL)
    for caller in (ANN, BOB):
        done(ask(plane, caller, "Staging"))
    for caller, creator in ((BOB, ANN), (CAROL, BOB)):
        status, code, message = refused(cancel(plane, caller, "Staging", creator))
        assert (status, code) == (403, "PERMISSION_DENIED")
        assert "CAN_MANAGE permission" in message
    activity = done(cancel(plane, BOB, "staging", BOB))["activity"]
    assert (activity["activity_type"], activity["user_id"]) == ("CANCELLED_REQUEST", BOB.user_name)
    assert [one["user_id"] for one in requests(plane)] == [ANN.user_name]
    assert refused(cancel(plane, BOB, "Staging", BOB))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    done(ask(plane, BOB, "Staging"))
    done(cancel(plane, ANN, "Staging", BOB))
    done(cancel(plane, ADMIN, "Staging", ANN))
    assert rows(plane) == []


def test_a_move_answers_what_was_asked(plane: ControlPlane) -> None:
    done(ask(plane, BOB, "Staging"))
    done(plane.request("POST", TRANSITION, ANN, json={**OF_VERSION, "stage": "Staging"}))
    assert rows(plane) == []


@pytest.mark.parametrize("first", ["list", "create", "nothing"])
def test_a_move_past_this_server_answers_too(plane: ControlPlane, first: str) -> None:
    done(ask(plane, BOB, "Staging"))
    plane.registry.add(MODEL, "1", stage="Staging")
    if first == "list":
        assert requests(plane) == []
    elif first == "create":
        assert refused(ask(plane, BOB, "Staging"))[0] == 400
    else:
        assert refused(answer(plane, "approve", ANN, "Staging"))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    plane.registry.add(MODEL, "1", stage="None")
    assert requests(plane) == []
    done(ask(plane, BOB, "Staging"))


def test_a_comment_is_its_authors(plane: ControlPlane) -> None:
    said = say(plane, BOB, "looks good")
    assert said == {
        "id": said["id"],
        "user_id": BOB.user_name,
        "creation_timestamp": plane.clock.now,
        "last_updated_timestamp": plane.clock.now,
        "comment": "looks good",
        "available_actions": [EDIT, DELETE],
    }
    plane.clock.now += 7
    changed = done(edit(plane, BOB, said["id"], "looks bad"))["comment"]
    assert changed == {**said, "comment": "looks bad", "last_updated_timestamp": plane.clock.now}
    assert comments(plane, BOB) == [changed]
    assert comments(plane, ANN) == [changed]  # who manages the model may change what others say
    assert done(remove(plane, BOB, said["id"])) == {}
    assert comments(plane) == []
    for response in (edit(plane, BOB, said["id"]), remove(plane, BOB, said["id"])):
        assert refused(response)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_comment_is_not_for_others_to_change(plane: ControlPlane) -> None:
    grant(plane, "CAN_MANAGE_PRODUCTION_VERSIONS", CAROL)
    said = say(plane, BOB)
    for response in (edit(plane, CAROL, said["id"]), remove(plane, CAROL, said["id"])):
        status, code, message = refused(response)
        assert (status, code) == (403, "PERMISSION_DENIED")
        assert "CAN_MANAGE permission" in message
    assert comments(plane, CAROL) == [{**said, "available_actions": []}]
    done(edit(plane, ANN, said["id"], "by the owner"))
    (seen,) = comments(plane)
    assert (seen["comment"], seen["user_id"]) == ("by the owner", BOB.user_name)
    done(remove(plane, ADMIN, said["id"]))
    assert comments(plane) == []


def test_who_may_read_the_model_no_more_keeps_off_their_comments(plane: ControlPlane) -> None:
    said = say(plane, BOB)
    with plane.sessions.begin() as session:
        permissions.forget_object(session, ObjectType.REGISTERED_MODEL, MODEL)
    for response in (edit(plane, BOB, said["id"]), remove(plane, BOB, said["id"])):
        assert refused(response)[:2] == (403, "PERMISSION_DENIED")


def test_comments_are_those_of_one_version_oldest_first(plane: ControlPlane) -> None:
    for number, version in enumerate(("1", "2", "1")):
        plane.clock.now += 1
        say(plane, BOB, str(number), version=version)
    assert [one["comment"] for one in comments(plane)] == ["0", "2"]
    assert [one["comment"] for one in comments(plane, version="2")] == ["1"]


def test_comments_come_in_pages(plane: ControlPlane) -> None:
    """However many there are, and however long: no answer has more than a hundred."""
    for number in range(103):
        plane.clock.now += number % 2  # some at the same time
        say(plane, BOB, str(number))
    seen, query = list[str](), dict[str, Any]()
    pages = list[int]()
    while True:
        page = done(plane.request("GET", f"{ROOT}/comments/list", BOB, params={**OF_VERSION, **query}))
        pages.append(len(page["comments"]))
        seen += [one["comment"] for one in page["comments"]]
        if "next_page_token" not in page:
            break
        query = {"page_token": page["next_page_token"]}
    assert pages == [100, 3]
    assert sorted(seen, key=int) == list(map(str, range(103)))
    one = done(plane.request("GET", f"{ROOT}/comments/list", BOB, params={**OF_VERSION, "max_results": 1}))
    assert [said["comment"] for said in one["comments"]] == ["0"]
    for wrong in ({"max_results": "101"}, {"max_results": "0"}, {"page_token": "x"}, {"page_token": "9" * 30 + "-0"}):
        answer = plane.request("GET", f"{ROOT}/comments/list", BOB, params={**OF_VERSION, **wrong})
        status, code, message = refused(answer)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
        assert next(iter(wrong)) in message


def test_they_go_with_the_model(plane: ControlPlane) -> None:
    say(plane, BOB)
    done(ask(plane, BOB, "Staging"))
    access(plane).renamed(MODEL, "ads2", access(plane).owner(MODEL))
    assert rows(plane) == [("ads2", "1")] * 2
    plane.registry.add("ads2", "1", stage="None")
    assert [one["comment"] for one in comments(plane, name="ads2")] == ["looks good"]
    assert len(requests(plane, name="ads2")) == 1
    access(plane).deleted("ads2", access(plane).owner("ads2"))
    assert rows(plane) == []


@pytest.mark.parametrize("how", ["made", "renamed"])
def test_another_model_of_the_name_begins_without(plane: ControlPlane, how: str) -> None:
    """The earlier one has left past this server."""
    say(plane, BOB)
    done(ask(plane, BOB, "Staging"))
    if how == "made":
        access(plane).created(CAROL, MODEL)
    else:
        access(plane).renamed("another", MODEL, access(plane).owner("another"))
    assert rows(plane) == []


def test_they_go_with_the_version(plane: ControlPlane) -> None:
    for version in "12":
        say(plane, BOB, version=version)
        done(ask(plane, BOB, "Staging", version=version))
    del plane.registry.versions[MODEL, "1"]
    for kind in ("transition-requests", "comments"):
        listed = plane.request("GET", f"{ROOT}/{kind}/list", ANN, params=OF_VERSION)
        assert refused(listed)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    for what in ("create", "approve", "reject"):
        assert refused(answer(plane, what, ANN, "Staging"))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert refused(post(plane, "comments/create", ANN, comment="x"))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert rows(plane) == [(MODEL, "2")] * 2


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("transition-requests/create", {}, "INVALID_PARAMETER_VALUE", "'stage'"),
        ("transition-requests/create", {"stage": "Retired"}, "INVALID_PARAMETER_VALUE", "Archived"),
        ("transition-requests/create", {"stage": 3}, "BAD_REQUEST", "'stage'"),
        ("transition-requests/create", {"stage": "Staging", "version": "x"}, "INVALID_PARAMETER_VALUE", "'version'"),
        ("transition-requests/create", {"stage": "None", "comment": LONG}, "INVALID_PARAMETER_VALUE", "65535"),
        ("transition-requests/reject", {"stage": "Staging", "name": None}, "INVALID_PARAMETER_VALUE", "'name'"),
        (
            "transition-requests/approve",
            {"stage": "Archived", "archive_existing_versions": True},
            "INVALID_PARAMETER_VALUE",
            "'archive_existing_versions'",
        ),
        ("comments/create", {}, "INVALID_PARAMETER_VALUE", "'comment'"),
        ("comments/create", {"comment": ""}, "INVALID_PARAMETER_VALUE", "'comment'"),
        ("comments/create", {"comment": LONG}, "INVALID_PARAMETER_VALUE", "65535"),
        ("comments/create", {"comment": "x\0"}, "INVALID_PARAMETER_VALUE", "NUL"),
    ],
)  # fmt: skip
def test_mistakes_are_named(plane: ControlPlane, path: str, body: dict[str, Any], code: str, words: str) -> None:
    status, found, message = refused(post(plane, path, ANN, **body))
    assert (status, found) == (400, code), message
    assert words in message
    assert rows(plane) == []


def test_the_longest_comment_is_kept(plane: ControlPlane) -> None:
    longest = "ü" * 65_535
    say(plane, BOB, longest)
    assert comments(plane)[0]["comment"] == longest


def test_a_cancellation_names_whose(plane: ControlPlane) -> None:
    query = {**OF_VERSION, "stage": "Staging"}
    response = plane.request("DELETE", f"{ROOT}/transition-requests/delete", BOB, params=query)
    assert refused(response) == (400, "INVALID_PARAMETER_VALUE", "Missing required field 'creator'")


def test_what_is_deleted_may_be_named_in_the_body(plane: ControlPlane) -> None:
    said = say(plane, BOB)
    done(plane.request("DELETE", f"{ROOT}/comments/delete", BOB, json={"id": said["id"]}))
    done(ask(plane, BOB, "Staging"))
    body = {**OF_VERSION, "stage": "Staging", "creator": BOB.user_name}
    done(plane.request("DELETE", f"{ROOT}/transition-requests/delete", BOB, json=body))
    assert rows(plane) == []


def test_the_database_itself_lets_a_user_ask_once(plane: ControlPlane) -> None:
    def row(number: int) -> TransitionRequest:
        return TransitionRequest(
            id=str(number), model_name=MODEL, version="1", to_stage="Staging", creator="b", creator_id="1",
            creation_timestamp=1,
        )  # fmt: skip

    with plane.sessions.begin() as session:
        store.insert_request(session, row(1))
    with pytest.raises(store.AlreadyRequested), plane.sessions.begin() as session:
        store.insert_request(session, row(2))


def test_the_audit_log_says_what_was_changed(plane: ControlPlane) -> None:
    done(ask(plane, BOB, "Staging"))
    done(cancel(plane, BOB, "Staging", BOB))
    said = say(plane, BOB)
    done(remove(plane, BOB, said["id"]))
    with reading(plane.sessions) as session:
        entries = [(one.action, one.object_id, one.user_name) for one in session.query(AuditRecord)]
        cancelled = session.query(AuditRecord).filter_by(action="delete_transition_request").one().details
    assert entries == [
        ("create_transition_request", MODEL, BOB.user_name),
        ("delete_transition_request", MODEL, BOB.user_name),
        ("create_comment", MODEL, BOB.user_name),
        ("delete_comment", said["id"], BOB.user_name),
    ]
    assert cancelled == {**OF_VERSION, "stage": "Staging", "creator": BOB.user_name}
