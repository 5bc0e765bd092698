"""Every page, in both themes and each language, narrow and wide: readable, accessible, without errors."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Open, picture, serious_violations
from models import Registered
from playwright.sync_api import Page, Route, expect
from server import Server

NAME = "for-looking-at"
LONG = "an-endpoint-with-a-very-long-name-that-does-not-fit-anywhere-63"
LANGUAGES = ("en", "ja", "pt-BR")
TITLES = {"en": "Serving endpoints", "ja": "サービングエンドポイント", "pt-BR": "Endpoints de serving"}
PAGES = {
    "home": "/",
    "serving": "/ml/endpoints",
    "create-endpoint": "/ml/endpoints/create",
    "edit-endpoint": f"/ml/endpoints/{NAME}/edit",
    "endpoint": f"/ml/endpoints/{NAME}",
    "endpoint-query": f"/ml/endpoints/{NAME}/query",
    "endpoint-metrics": f"/ml/endpoints/{NAME}/metrics",
    "endpoint-logs": f"/ml/endpoints/{NAME}/logs",
    "endpoint-events": f"/ml/endpoints/{NAME}/events",
    "endpoint-inference-table": f"/ml/endpoints/{NAME}/inference-table",
    "endpoint-settings": f"/ml/endpoints/{NAME}/settings",
    "chat": "/ml/endpoints/databricks-smollm2-135m-instruct/query",
    "models": "/ml/models",
    "model": "/ml/models/main.default.iris",
    "model-serving": "/ml/models/main.default.iris/serving",
    **{
        f"settings-{tab}": f"/settings/{tab}"
        for tab in ("tokens", "secrets", "users", "groups", "service-principals", "audit", "usage", "about")
    },
}
ROW = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}


@pytest.fixture(scope="module")
def seen(server: Server, registered: Callable[[str], Registered]) -> Iterator[Server]:
    """A workspace with something on every page."""
    model = registered("iris").name
    server.create(NAME, model)
    server.create(LONG, model)
    server.ready(NAME)
    server.ready(LONG)
    tags = {"add_tags": [{"key": "team", "value": "growth"}, {"key": "k" * 100, "value": "v" * 200}]}
    assert server.http.patch(f"/api/2.0/serving-endpoints/{NAME}/tags", json=tags).status_code == 200
    for _ in range(20):
        server.http.post(f"/serving-endpoints/{NAME}/invocations", json={"dataframe_records": [ROW]})
    server.http.post(f"/serving-endpoints/{NAME}/invocations", json={"bad": 1})
    server.http.post("/api/2.0/secrets/scopes/create", json={"scope": "vault"})
    yield server
    server.delete(NAME)
    server.delete(LONG)


def settled(page: Page) -> None:
    """Wait until nothing on the page is a placeholder any more."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("[aria-busy=true], .mantine-Skeleton-root[data-visible=true]")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_serious_faults_or_errors(seen: Server, open_page: Open, name: str, dark: bool) -> None:
    page = open_page(PAGES[name], dark=dark)
    settled(page)
    picture(page, f"{name}-{'dark' if dark else 'light'}")
    assert serious_violations(page) == []
    assert sideways(page) <= 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_sign_in_page(open_page: Open, dark: bool) -> None:
    page = open_page("/login", token="", dark=dark)
    expect(page.get_by_role("textbox", name="Access token")).to_be_focused()
    picture(page, f"sign-in-{'dark' if dark else 'light'}")
    assert serious_violations(page) == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
@pytest.mark.parametrize("name", PAGES)
def test_each_page_in_each_language(seen: Server, open_page: Open, name: str, language: str) -> None:
    page = open_page(PAGES[name], language=language)
    settled(page)
    picture(page, f"{name}-{language}")
    assert page.locator("html").get_attribute("lang") == language
    assert sideways(page) <= 0


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_telephone(seen: Server, open_page: Open, name: str) -> None:
    page = open_page(PAGES[name], size=(390, 844))
    settled(page)
    picture(page, f"{name}-narrow")
    assert sideways(page) <= 0


def sideways(page: Page) -> int:
    """How far the page could be scrolled to the side, in pixels."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_the_language_and_the_colours_are_chosen_and_kept(seen: Server, open_page: Open) -> None:
    page = open_page("/ml/endpoints")
    for language, own in (("ja", "日本語"), ("pt-BR", "Português (Brasil)"), ("en", "English")):
        page.locator("header").get_by_role("button").nth(-2).click()
        page.get_by_role("menuitem", name=own).click()
        expect(page.get_by_text(TITLES[language]).first).to_be_visible()
        page.reload()
        expect(page.get_by_text(TITLES[language]).first).to_be_visible()
    page.get_by_role("button", name="Switch to dark colours").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")


def test_a_thousand_endpoints_are_searched_and_sorted_quickly(seen: Server, open_page: Open) -> None:
    """The API's answer is multiplied on its way to the browser."""

    def thousand(route: Route) -> None:
        document: dict[str, Any] = route.fetch().json()
        one = next(each for each in document["endpoints"] if each["name"] == NAME)
        document["endpoints"] = [{**one, "name": f"endpoint-{n:04}", "id": f"id{n}"} for n in range(1000)]
        route.fulfill(json=document)

    page = open_page("/login")
    page.route("**/api/2.0/serving-endpoints", thousand)
    page.goto("/ml/endpoints")
    expect(page.get_by_role("link", name="endpoint-0001", exact=True)).to_be_visible()
    began = time.monotonic()
    page.get_by_role("textbox", name="Filter by name").fill("0777")
    expect(page.get_by_role("link", name="endpoint-0777", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="endpoint-0001", exact=True)).to_have_count(0)
    assert time.monotonic() - began < 3
    assert "0777" in page.url
    picture(page, "serving-thousand")


def test_an_address_without_a_page_says_so(open_page: Open) -> None:
    page = open_page("/ml/nothing/here")
    expect(page.get_by_text("This address leads to no page.")).to_be_visible()
    page = open_page("/ml/endpoints/no-such-endpoint", refusals=(404,))
    expect(page.get_by_text("no-such-endpoint").first).to_be_visible()
    expect(page.get_by_role("link", name="All serving endpoints")).to_be_visible()


def test_links_of_mlflows_clients_lead_to_mlflow(seen: Server, open_page: Open) -> None:
    page = open_page("/#/experiments/1")
    page.wait_for_url("**/mlflow/#/experiments/1")


def test_the_first_page_is_small_and_soon_there(seen: Server, open_page: Open) -> None:
    sizes: list[int] = []
    page = open_page("/settings")
    settled(page)
    page.on(
        "response",
        lambda answer: sizes.append(len(gzip.compress(answer.body()))) if "/assets/" in answer.url else None,
    )
    seconds: list[float] = []
    cache = page.context.new_cdp_session(page)
    cache.send("Network.setCacheDisabled", {"cacheDisabled": True})
    for _ in range(3):
        sizes.clear()
        began = time.monotonic()
        page.goto("/ml/endpoints", wait_until="commit")
        page.get_by_role("button", name="Account").wait_for()
        page.get_by_role("link", name=NAME, exact=True).wait_for()
        seconds.append(time.monotonic() - began)
        settled(page)
    assert 100_000 < sum(sizes) < 600_000
    assert min(seconds) < 1, seconds
