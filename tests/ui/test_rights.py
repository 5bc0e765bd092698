"""What is shown depends on who looks, and nobody sees more by an address."""

from __future__ import annotations

from collections.abc import Callable

from clicking import expect_condition
from conftest import Open, picture
from models import Registered
from playwright.sync_api import expect
from server import OTHER_USER, Server

NAME = "guarded"
ENDPOINT = f"/api/2.0/serving-endpoints/{NAME}"


def grant(server: Server, level: str) -> None:
    path = f"/api/2.0/permissions/serving-endpoints/{server.detail(NAME)['id']}"
    entry = {"user_name": OTHER_USER, "permission_level": level}
    answer = server.http.put(path, json={"access_control_list": [entry]})
    assert answer.status_code == 200, answer.text


def test_a_second_user_sees_what_its_rights_allow(
    open_page: Open, server: Server, registered: Callable[[str], Registered], other_token: str
) -> None:
    server.create(NAME, registered("iris").name)
    server.ready(NAME)
    page = open_page(f"/ml/endpoints/{NAME}", token=other_token, refusals=(403, 404))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    picture(page, "endpoint-forbidden")

    grant(server, "CAN_VIEW")
    page.reload()
    expect_condition(page, "ready")
    for button in ("Edit", "Stop", "Start"):
        expect(page.get_by_role("button", name=button, exact=True)).to_have_count(0)
    page.get_by_role("tab", name="Query").click()
    expect(page.get_by_text("You may not query this endpoint")).to_be_visible()

    grant(server, "CAN_QUERY")
    page.reload()
    page.get_by_role("button", name="Show example").click()
    page.get_by_role("button", name="Send request").click()
    expect(page.get_by_role("textbox", name="Response body")).to_contain_text("predictions")
    expect(page.get_by_role("button", name="Edit", exact=True)).to_have_count(0)
    page.goto(f"/ml/endpoints/{NAME}/edit")
    expect(page.get_by_text("It can be changed with CAN_MANAGE only.")).to_be_visible()

    grant(server, "CAN_MANAGE")
    page.goto(f"/ml/endpoints/{NAME}")
    expect(page.get_by_role("button", name="Edit", exact=True)).to_be_visible()


def test_permissions_are_given_on_the_settings_tab(
    open_page: Open, server: Server, registered: Callable[[str], Registered], other_token: str
) -> None:
    server.create(NAME, registered("iris").name)
    server.ready(NAME)
    page = open_page(f"/ml/endpoints/{NAME}")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Permissions").click()
    expect(page.get_by_role("tab", name="Settings")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_text("admin@localhost").first).to_be_visible()
    picture(page, "endpoint-permissions")


def test_nobody_is_sent_to_sign_in_and_comes_back(open_page: Open, server: Server) -> None:
    page = open_page("/ml/endpoints?q=x", token="", refusals=(401, 403))
    page.wait_for_url("**/login?*")
    field = page.get_by_role("textbox", name="Access token")
    field.fill("dapi-wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("This token is not valid here")).to_be_visible()
    field.fill(server.token)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/ml/endpoints?q=x")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url("**/login")
    assert not page.context.cookies()


def test_an_address_of_another_server_is_not_followed_after_signing_in(open_page: Open, server: Server) -> None:
    page = open_page("/login?return_to=//evil.example/x", token="")
    page.get_by_role("textbox", name="Access token").fill(server.token)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{server.url}/")
