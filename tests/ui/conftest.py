"""A real browser on the real server: pages as their users open them, watched for errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_provider.running import FakeProviderClient, running_fake_provider
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from server import OTHER_TOKEN, Server, running_server

from moorage.control.pages import BUNDLE, is_built

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "screenshots"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
expect.set_options(timeout=20_000)


@dataclass
class Watched:
    """A page, and what went wrong on it. `refusals` are the statuses of answers that a test means to get."""

    page: Page
    refusals: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))

    def _said(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        if any(f"the server responded with a status of {status}" in message.text for status in self.refusals):
            return
        self.problems.append(f"{self.page.url}: {message.type}: {message.text} {message.location.get('url', '')}")


Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "these tests drive a browser: install Chromium (on Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    assert is_built(BUNDLE), "these tests look at the built web UI: run `make web`"
    with running_server(with_other_user=True) as running:
        running.wait_for_catalogue()
        yield running


@pytest.fixture(scope="session")
def provider() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture
def endpoints_go(server: Server) -> Iterator[None]:
    """Deletes the endpoints that a test made, once its pages are closed: an open one would ask for what is gone."""

    def names() -> set[str]:
        listed = server.http.get("/api/2.0/serving-endpoints")
        assert listed.status_code == 200, listed.text
        return {endpoint["name"] for endpoint in listed.json().get("endpoints", [])}

    before = names()
    yield
    for name in names() - before:
        server.delete(name)


@pytest.fixture
def open_page(browser: Browser, server: Server, endpoints_go: None) -> Iterator[Open]:
    """Opens a path, signed in as the administrator, or as another user with `token`; `token=""` signs nobody in.
    Of the server that the tests share, or the one that it is told to be `on`.

    Fails at the end of the test when anything was written to the console or thrown on any of the pages.
    """
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def open_path(
        path: str,
        *,
        token: str | None = None,
        refusals: tuple[int, ...] = (),
        dark: bool = False,
        language: str = "en",
        size: tuple[int, int] = (1360, 900),
        on: Server = server,
    ) -> Page:
        context = browser.new_context(
            base_url=on.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            locale=language,
            accept_downloads=True,
        )
        context.set_default_timeout(20_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        token = on.token if token is None else token
        if token:
            headers = {"Origin": on.url}
            answer = context.request.post("/api/2.0/moorage/session", data={"token": token}, headers=headers)
            assert answer.ok, answer.text()
        one = Watched(context.new_page(), set(refusals))
        one.watch()
        watched.append(one)
        one.page.goto(path)
        return one.page

    yield open_path
    for context in contexts:
        context.close()
    problems = [problem for one in watched for problem in one.problems]
    assert not problems, "\n".join(problems)


@pytest.fixture
def other_token() -> str:
    """Of a user who has no rights of its own."""
    return OTHER_TOKEN


def serious_violations(page: Page) -> list[str]:
    """What axe finds on the page that is serious or critical."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # not as a script of the page, which its policy would refuse
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['impact']} {one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def picture(page: Page, name: str) -> None:
    """Save how the page looks into the ignored folder `screenshots`."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
