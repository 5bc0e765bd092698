"""What several tests do on pages."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, Request, Route, expect

_QUIET_MS = 6000  # endpoints, replicas and what serves a model by stage are asked for every 5 s or more often


def choose(page: Page, field: Locator, option: str) -> None:
    """An option of a select by (a part of) its text."""
    field.click()
    page.get_by_role("option", name=option).first.click()


def entity_form(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Select served entity")


def add_model(page: Page, name: str) -> None:
    """Through the opened form *Select served entity*; the newest version."""
    form = entity_form(page)
    model = form.get_by_role("combobox", name="Model")
    model.click()
    model.fill(name)
    page.get_by_role("option", name=name).first.click()
    confirm = form.get_by_role("button", name="Confirm")
    expect(confirm).to_be_enabled()
    confirm.click()
    expect(form).to_be_hidden()


def condition(page: Page) -> Locator:
    """The state indicator at the top of an endpoint's page; `data-condition` says which it is."""
    return page.get_by_test_id("state-indicator").first


def expect_condition(page: Page, word: str, seconds: float = 120) -> None:
    expect(condition(page)).to_have_attribute("data-condition", word, timeout=seconds * 1000)


def click_and_hold(page: Page, button: Locator, request: str, about: str) -> None:
    """Click what sends a request to the path `request`, and hold that request for `_QUIET_MS`; then let it go.

    Fails when the page asks meanwhile for anything that has `about` in its address.
    """
    held: list[Route] = []
    asked: list[str] = []

    def watch(one: Request) -> None:
        if about in one.url:
            asked.append(f"{one.method} {one.url}")

    page.route(f"**{request}", lambda route: held.append(route))
    with page.expect_request(f"**{request}"):
        button.click()
    page.on("request", watch)
    page.wait_for_timeout(_QUIET_MS)
    page.remove_listener("request", watch)
    assert not asked, asked
    assert len(held) == 1
    held[0].continue_()
    page.unroute(f"**{request}")
