"""Tokens and secrets by clicks: what is shown once, and never again."""

from __future__ import annotations

import httpx
from conftest import Open, picture
from playwright.sync_api import expect
from server import Server


def status_with(server: Server, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{server.url}/api/2.0/serving-endpoints", headers=headers).status_code


def test_a_token_is_shown_once_works_and_is_revoked(open_page: Open, server: Server) -> None:
    page = open_page("/settings/tokens")
    page.get_by_role("button", name="Generate token").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Comment").fill("from a browser")
    dialog.get_by_role("button", name="Generate", exact=True).click()
    dialog.get_by_role("button", name="Copy: Token").click()
    token = page.evaluate("navigator.clipboard.readText()")
    picture(page, "settings-token-once")
    assert status_with(server, token) == 200
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("row", name="from a browser").first).to_be_visible()
    assert token not in page.content()
    page.get_by_role("row", name="from a browser").first.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="from a browser")).to_have_count(0)
    assert status_with(server, token) == 403


def test_others_do_not_see_the_audit_log(open_page: Open, other_token: str) -> None:
    page = open_page("/settings", token=other_token)
    expect(page.get_by_role("tab", name="Access tokens")).to_be_visible()
    expect(page.get_by_role("tab", name="Audit log")).to_have_count(0)
    page.get_by_role("tab", name="Users").click()
    expect(page.get_by_text("admin@localhost").first).to_be_visible()
    expect(page.get_by_role("button", name="Create")).to_have_count(0)


def test_an_administrator_lets_a_new_user_in(open_page: Open, server: Server) -> None:
    page = open_page("/settings/users")
    page.get_by_role("button", name="Add user").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="User name").fill("new@example.com")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(dialog).to_have_count(0)
    page.get_by_role("row", name="new@example.com").get_by_role("button").last.click()
    page.get_by_role("menuitem", name="Create sign-in link").click()
    link = page.get_by_role("dialog").get_by_label("Link", exact=True).inner_text()
    picture(page, "settings-sign-in-link")
    theirs = open_page(link.removeprefix(server.url), token="")
    theirs.get_by_role("button", name="Account").click()
    expect(theirs.get_by_text("new@example.com")).to_be_visible()
