"""Users, groups and service principals with the unmodified Databricks SDK against the server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service.iam import ComplexValue, Group, ListSortOrder, Name, Patch, PatchOp, PatchSchema, User
from server import OTHER_TOKEN, OTHER_USER, Server, wait_for

from moorage.control.store import identity, permissions
from moorage.control.store.engine import make_sessions, open_database
from moorage.control.store.models import Token
from moorage.control.store.permissions import ObjectType
from moorage.datadir import DataDirectory
from moorage.identity.ids import new_token_id
from moorage.identity.tokens import new_token, token_digest

PATCH = [PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP]


@pytest.fixture(scope="module")
def client(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture
def make_user(client: WorkspaceClient) -> Iterator[Callable[..., User]]:
    """Makes users of names that begin with `scim-`, and removes those that the test left."""

    def make(whose: str, **fields: object) -> User:
        return client.users.create(user_name=f"scim-{whose}@example.com", **fields)

    yield make
    for user in client.users.list(filter='userName sw "scim-"'):
        client.users.delete(user.id)


@pytest.fixture
def make_group(client: WorkspaceClient) -> Iterator[Callable[..., Group]]:
    """Makes groups of names that begin with `scim-`, and removes those that the test left."""

    def make(name: str, *member_ids: str) -> Group:
        members = [ComplexValue(value=one) for one in member_ids]
        return client.groups.create(display_name=f"scim-{name}", members=members)

    yield make
    for group in client.groups.list(filter='displayName sw "scim-"'):
        client.groups.delete(group.id)


def in_database(server: Server, change: Callable[..., None]) -> None:
    engine = open_database(DataDirectory(server.data_dir).database)
    with make_sessions(engine).begin() as session:
        change(session)
    engine.dispose()


def client_of(server: Server, client: WorkspaceClient, user: User) -> WorkspaceClient:
    """A client with a new token of the user, which the gateways know."""
    text = new_token()
    token = Token(id=new_token_id(), digest=token_digest(text), user_id=user.id, creation_time=1)
    in_database(server, lambda session: identity.insert_token(session, token))
    # A change of any principal makes the gateways know of every token.
    rename = Patch(op=PatchOp.REPLACE, path="displayName", value="has a token")
    client.users.patch(user.id, operations=[rename], schemas=PATCH)
    return WorkspaceClient(host=server.url, token=text, auth_type="pat")


def test_a_user_lives_through_the_sdk(client, make_user, make_group):
    team = make_group("team")
    made = make_user(
        "ann",
        display_name="Ann Lee",
        name=Name(given_name="Ann", family_name="Lee"),
        entitlements=[ComplexValue(value="workspace-access")],
        groups=[ComplexValue(value=team.id)],
        active=True,
    )
    assert made.id.isdigit()
    assert (made.user_name, made.display_name, made.active) == ("scim-ann@example.com", "Ann Lee", True)
    assert made.emails[0].as_dict() == {"value": made.user_name, "type": "work", "primary": True}
    assert {group.display: (group.value, group.ref) for group in made.groups}["scim-team"] == (
        team.id,
        f"Groups/{team.id}",
    )
    assert client.users.get(made.id) == made
    assert list(client.users.list(filter='userName eq "SCIM-ann@example.com"')) == [made]

    client.users.patch(
        made.id,
        operations=[
            Patch(op=PatchOp.REPLACE, path="name.givenName", value="Anna"),
            Patch(op=PatchOp.REPLACE, path="displayName", value="Anna Lee"),
            Patch(op=PatchOp.REMOVE, path='entitlements[value eq "workspace-access"]'),
            Patch(op=PatchOp.REPLACE, path="active", value=False),
        ],
        schemas=PATCH,
    )
    patched = client.users.get(made.id)
    assert patched.name == Name(given_name="Anna", family_name="Lee")
    assert (patched.display_name, patched.active, patched.entitlements) == ("Anna Lee", False, [])

    client.users.update(made.id, user_name=made.user_name, display_name="A", active=True)
    updated = client.users.get(made.id)
    assert (updated.display_name, updated.active, updated.name.family_name) == ("A", True, None)
    assert client.users.get(made.id, attributes="displayName").user_name is None

    client.users.delete(made.id)
    with pytest.raises(sdk_errors.NotFound, match=f"User with id '{made.id}' not found") as missing:
        client.users.get(made.id)
    assert missing.value.error_code == "SCIM_404"
    assert client.groups.get(team.id).members == []


def test_a_group_lives_through_the_sdk(client, make_user, make_group):
    ann, bob = make_user("ann"), make_user("bob")
    made = make_group("team", ann.id)
    assert made.meta.resource_type == "WorkspaceGroup"
    assert [(one.value, one.display, one.ref) for one in made.members] == [
        (ann.id, ann.display_name, f"Users/{ann.id}")
    ]
    assert client.groups.get(made.id) == made
    assert list(client.groups.list(filter=f'members.value eq "{ann.id}" and displayName ne "users"')) == [made]

    add = Patch(op=PatchOp.ADD, value={"members": [{"value": bob.id}]})
    remove = Patch(op=PatchOp.REMOVE, path=f'members[value eq "{ann.id}"]')
    client.groups.patch(made.id, operations=[add, remove], schemas=PATCH)
    assert [one.value for one in client.groups.get(made.id).members] == [bob.id]

    client.groups.update(made.id, display_name="scim-crew", members=[ComplexValue(value=ann.id)])
    updated = client.groups.get(made.id)
    assert (updated.display_name, [one.value for one in updated.members]) == ("scim-crew", [ann.id])

    client.groups.delete(made.id)
    with pytest.raises(sdk_errors.NotFound):
        client.groups.get(made.id)
    assert client.users.get(ann.id).user_name == ann.user_name


def test_a_service_principal_lives_through_the_sdk(client):
    name = f"scim-{uuid.uuid4()}"
    made = client.service_principals.create(display_name=name, entitlements=[ComplexValue(value="e")])
    try:
        assert str(uuid.UUID(made.application_id)) == made.application_id
        assert (made.display_name, made.active) == (name, True)
        assert client.service_principals.get(made.id) == made
        assert list(client.service_principals.list(filter=f'applicationId eq "{made.application_id}"')) == [made]

        off = Patch(op=PatchOp.REPLACE, path="active", value="false")
        client.service_principals.patch(made.id, operations=[off], schemas=PATCH)
        assert client.service_principals.get(made.id).active is False

        client.service_principals.update(made.id, display_name=f"{name}-2", active=True)
        updated = client.service_principals.get(made.id)
        assert (updated.display_name, updated.active, updated.entitlements) == (f"{name}-2", True, [])
    finally:
        client.service_principals.delete(made.id)
    with pytest.raises(sdk_errors.NotFound):
        client.service_principals.get(made.id)


def test_paging_goes_through_all_and_ends(client, make_user):
    made = [make_user(f"p{number}").user_name for number in range(5)]
    for count in (1, 2, 5, 10_000):
        query = {"filter": 'userName sw "scim-p"', "sort_by": "userName"}
        assert [user.user_name for user in client.users.list(count=count, **query)] == made
    backwards = client.users.list(sort_by="userName", sort_order=ListSortOrder.DESCENDING, attributes="userName")
    found = [user.user_name for user in backwards if user.user_name.startswith("scim-p")]
    assert found == made[::-1]
    assert {"admins", "users"} <= {group.display_name for group in client.groups.list()}
    assert list(client.service_principals.list(filter='displayName eq "scim-nobody"')) == []


def test_refusals_are_the_errors_of_the_sdk(server, client, make_user, make_group):
    make_user("ann")
    with pytest.raises(sdk_errors.ResourceConflict, match="uniqueness User with username") as conflict:
        make_user("ANN")
    assert conflict.value.error_code == "SCIM_409"
    with pytest.raises(sdk_errors.BadRequest, match="invalidFilter Invalid filter: operator 'gt'"):
        list(client.users.list(filter='userName gt "a"'))
    inner = make_group("inner")
    add = Patch(op=PatchOp.ADD, path="members", value=make_group("outer", inner.id).id)
    with pytest.raises(sdk_errors.BadRequest, match="'scim-inner' would be in itself"):
        client.groups.patch(inner.id, operations=[add])
    [admins] = client.groups.list(filter='displayName eq "admins"')
    with pytest.raises(sdk_errors.BadRequest, match="'admins' cannot be deleted"):
        client.groups.delete(admins.id)
    with pytest.raises(sdk_errors.BadRequest, match="without an active administrator"):
        client.users.delete(client.current_user.me().id)
    other = WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")
    with pytest.raises(sdk_errors.PermissionDenied, match=f"Only admins .*'{OTHER_USER}'") as denied:
        other.users.create(user_name="scim-eve@example.com")
    assert denied.value.error_code == "SCIM_403"
    assert [user.user_name for user in other.users.list(filter='userName eq "scim-ann@example.com"')]


def test_the_token_of_a_deactivated_or_deleted_user_stops_at_once(server, client, make_user):
    user = make_user("ann")
    theirs = client_of(server, client, user)
    assert theirs.current_user.me().id == user.id
    client.users.patch(user.id, operations=[Patch(op=PatchOp.REPLACE, path="active", value=False)], schemas=PATCH)
    with pytest.raises(sdk_errors.PermissionDenied, match="Invalid access token"):
        theirs.current_user.me()
    client.users.patch(user.id, operations=[Patch(op=PatchOp.REPLACE, path="active", value=True)], schemas=PATCH)
    assert theirs.current_user.me().active is True
    client.users.delete(user.id)
    with pytest.raises(sdk_errors.PermissionDenied, match="Invalid access token"):
        theirs.current_user.me()


def test_an_admin_is_who_is_in_admins_from_then_until_then(server, client, make_user, make_group):
    user = make_user("ann")
    theirs = client_of(server, client, user)
    team = make_group("team", user.id)
    [admins] = client.groups.list(filter='displayName eq "admins"')
    add = Patch(op=PatchOp.ADD, path="members", value=[{"value": team.id}])
    client.groups.patch(admins.id, operations=[add], schemas=PATCH)
    assert theirs.groups.create(display_name="scim-theirs").display_name == "scim-theirs"
    groups = {group.display: group.type for group in theirs.current_user.me().groups}
    assert groups == {"admins": "indirect", "scim-team": "direct", "users": "direct"}
    client.groups.delete(team.id)
    with pytest.raises(sdk_errors.PermissionDenied):
        theirs.groups.create(display_name="scim-more")


def test_a_right_given_to_a_group_reaches_who_is_in_it_through_another(server, client, make_user, make_group):
    user = make_user("ann")
    theirs = client_of(server, client, user)
    inner = make_group("inner")
    outer = make_group("outer", inner.id)
    name = "scim-endpoint"
    made = server.http.post("/api/2.0/serving-endpoints", json={"name": name}).json()

    def query_status() -> int:
        headers = {"Authorization": f"Bearer {theirs.config.token}"}
        return int(server.query(name, {"inputs": [1]}, **headers).status_code)

    try:
        in_database(
            server,
            lambda session: permissions.grant(
                session, ObjectType.SERVING_ENDPOINT, made["id"], outer.id, "CAN_QUERY"
            ),
        )
        # Any change of the endpoint tells the gateways who may query it.
        server.http.patch(f"/api/2.0/serving-endpoints/{name}/tags", json={"add_tags": [{"key": "a"}]})
        with pytest.raises(sdk_errors.PermissionDenied):
            theirs.serving_endpoints.get(name)
        assert query_status() == 403
        join = Patch(op=PatchOp.ADD, path="members", value=[{"value": user.id}])
        client.groups.patch(inner.id, operations=[join], schemas=PATCH)
        assert theirs.serving_endpoints.get(name).name == name
        # It has no served entity, which only those hear who may query it.
        wait_for("the gateways know the right", lambda: query_status() != 403, 10)
        leave = Patch(op=PatchOp.REMOVE, path=f'members[value eq "{inner.id}"]')
        client.groups.patch(outer.id, operations=[leave], schemas=PATCH)
        with pytest.raises(sdk_errors.PermissionDenied):
            theirs.serving_endpoints.get(name)
        assert query_status() == 403
    finally:
        server.delete(name)
