"""Lists over SCIM: pages that end, filters, sort orders and the attributes asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from scim_requests import SCIM, Json, create, group_id, refusal

from moorage.control.store.models import User


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def listed(plane: ControlPlane, kind: str = "Users", **query: Any) -> Json:
    response = plane.request("GET", f"{SCIM}/{kind}", params=query)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    assert document["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
    assert document["itemsPerPage"] == len(document["Resources"])
    return document


def names(plane: ControlPlane, kind: str = "Users", **query: Any) -> list[str]:
    return [one["displayName"] for one in listed(plane, kind, **query)["Resources"]]


def test_each_kind_is_in_its_own_list(plane: ControlPlane) -> None:
    create(plane, "ServicePrincipals", displayName="job")
    create(plane, "Groups", displayName="team")
    assert names(plane) == ["Ad Min", "Ann", "Bob"]
    assert sorted(names(plane, "Groups")) == ["admins", "team", "users"]
    assert names(plane, "ServicePrincipals") == ["job"]
    assert listed(plane, "Users")["Resources"][1]["id"] == ANN.id


@pytest.mark.parametrize(
    ("query", "found", "start"),
    [
        ({}, ["Ad Min", "Ann", "Bob"], 1),
        ({"startIndex": 1, "count": 2}, ["Ad Min", "Ann"], 1),
        ({"startIndex": 3, "count": 2}, ["Bob"], 3),
        ({"startIndex": 4, "count": 10000}, [], 4),
        ({"startIndex": 10**30}, [], 10**30),
        ({"startIndex": -5, "count": 1}, ["Ad Min"], 1),
        ({"count": 0}, [], 1),
        ({"count": -1}, [], 1),
    ],
)
def test_a_page_is_what_was_asked_for_and_empty_behind_the_end(
    plane: ControlPlane, query: Json, found: list[str], start: int
) -> None:
    page = listed(plane, **query)
    assert [one["displayName"] for one in page["Resources"]] == found
    assert (page["totalResults"], page["startIndex"]) == (3, start)


def test_no_page_is_longer_than_clients_ask_for(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        session.add_all(User(id=f"5{number:06}", user_name=f"u{number}", created_at=2) for number in range(10_000))
    page = listed(plane, count=20_000, attributes="id")
    assert (page["totalResults"], page["itemsPerPage"]) == (10_003, 10_000)
    assert page["Resources"][3] == {"id": "5000000", "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}
    assert names(plane, startIndex=10_001, count=20_000) == ["u9997", "u9998", "u9999"]


@pytest.mark.parametrize("query", [{"count": "many"}, {"startIndex": "1.5"}, {"count": "9" * 5000}])
def test_a_page_that_is_no_number_is_refused(plane: ControlPlane, query: Json) -> None:
    answer = plane.request("GET", f"{SCIM}/Users", params=query)
    assert f"field '{next(iter(query))}'" in refusal(answer, 400, "invalidSyntax")


@pytest.mark.parametrize("order", ["upwards", ""])
def test_an_unknown_order_is_refused(plane: ControlPlane, order: str) -> None:
    answer = plane.request("GET", f"{SCIM}/Users", params={"sortBy": "userName", "sortOrder": order})
    assert "'sortOrder': must be one of" in refusal(answer, 400, "invalidValue")
    answer = plane.request("GET", f"{SCIM}/Users", params={"sortBy": "salary"})
    assert "no attribute 'salary' to sort by" in refusal(answer, 400, "invalidValue")


def test_filters_count_before_the_page_is_cut(plane: ControlPlane) -> None:
    team = create(plane, "Groups", displayName="team", members=[{"value": ANN.id}, {"value": BOB.id}])["id"]
    page = listed(plane, filter='groups.display eq "TEAM"', count=1)
    assert (page["totalResults"], [one["displayName"] for one in page["Resources"]]) == (2, ["Ann"])
    assert names(plane, filter='emails.value sw "BOB@"') == ["Bob"]
    assert names(plane, filter=f'id eq "{ANN.id}" or displayName co "ob"') == ["Ann", "Bob"]
    assert names(plane, filter='not (userName ne "ann@example.com")') == ["Ann"]
    assert names(plane, "Groups", filter=f'members.value eq "{ADMIN.id}" and displayName ne "users"') == ["admins"]
    assert names(plane, "Groups", filter=f'id eq "{team}"') == ["team"]
    create(plane, "Users", userName="off", active=False)
    assert names(plane, filter="active eq false") == ["off"]
    answer = plane.request("GET", f"{SCIM}/Groups", params={"filter": 'userName eq "x"'})
    assert "no attribute 'userName'" in refusal(answer, 400, "invalidFilter")
    refusal(plane.request("GET", f"{SCIM}/ServicePrincipals", params={"filter": ""}), 400, "invalidFilter")


def test_a_list_is_sorted_by_any_attribute_in_either_order(plane: ControlPlane) -> None:
    create(plane, "Users", userName="aa", displayName="Zed", externalId="b", name={"givenName": "b"})
    create(plane, "Users", userName="zz", displayName="aaron", externalId="A", name={"givenName": "A"})
    assert names(plane, sortBy="DisplayName") == ["aaron", "Ad Min", "Ann", "Bob", "Zed"]
    assert names(plane, sortBy="userName", sortOrder="descending") == ["aaron", "Bob", "Ann", "Ad Min", "Zed"]
    assert names(plane, sortBy="externalId")[:2] == ["aaron", "Zed"]
    assert names(plane, sortBy="externalId", sortOrder="Descending")[-2:] == ["Zed", "aaron"]
    assert names(plane, sortBy="name.givenName", sortOrder="ascending")[0] == "aaron"
    assert names(plane, sortBy="emails", filter='userName sw "zz" or userName sw "aa"') == ["Zed", "aaron"]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ({"attributes": "userName"}, {"userName": "ann@example.com"}),
        ({"attributes": " USERNAME , nosuch"}, {"userName": "ann@example.com"}),
        ({"attributes": "emails.VALUE,emails.type"}, {"emails": [{"value": "ann@example.com", "type": "work"}]}),
        ({"attributes": "name.givenName,name"}, {"name": {"givenName": "Ann"}}),
        ({"attributes": "urn:ietf:params:scim:schemas:core:2.0:User:active"}, {"active": True}),
        (
            {"attributes": "emails,active", "excludedAttributes": "emails.primary,ACTIVE,id"},
            {"emails": [{"value": "ann@example.com", "type": "work"}]},
        ),
    ],
)
def test_only_the_attributes_asked_for_are_answered(plane: ControlPlane, query: Json, kept: Json) -> None:
    always = {"id": ANN.id, "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}
    assert listed(plane, filter='userName eq "ann@example.com"', **query)["Resources"] == [{**always, **kept}]
    assert plane.request("GET", f"{SCIM}/Users/{ANN.id}", params=query).json() == {**always, **kept}


def test_what_is_excluded_is_left_out(plane: ControlPlane) -> None:
    whole = plane.request("GET", f"{SCIM}/Groups/{group_id(plane, 'admins')}").json()
    some = plane.request("GET", f"{SCIM}/Groups/{whole['id']}?excludedAttributes=members,meta").json()
    assert some == {key: value for key, value in whole.items() if key not in ("members", "meta")}
    assert whole["members"][0]["value"] == ADMIN.id
