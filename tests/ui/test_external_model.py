"""An endpoint in front of a provider's model by clicks, against a local stand-in for the provider."""

from __future__ import annotations

import re

from clicking import choose, entity_form, expect_condition
from conftest import Open, picture
from fake_provider.running import FakeProviderClient
from playwright.sync_api import expect
from server import Server

NAME = "gpt-by-clicks"


def test_an_external_model_by_clicks_then_a_chat_with_it(
    open_page: Open, server: Server, provider: FakeProviderClient
) -> None:
    server.http.post("/api/2.0/secrets/scopes/create", json={"scope": "keys"})
    secret = {"scope": "keys", "key": "openai", "string_value": provider.keys["openai"]}
    assert server.http.post("/api/2.0/secrets/put", json=secret).status_code == 200
    page = open_page("/ml/endpoints/create", refusals=(429,))
    page.get_by_role("textbox", name="Name").fill(NAME)
    page.get_by_role("button", name="Entity").click()
    form = entity_form(page)
    form.get_by_role("tab", name="External model").click()
    choose(page, form.get_by_role("combobox", name="Provider"), "OpenAI")
    choose(page, form.get_by_role("combobox", name="Task"), "Chat")
    form.get_by_role("textbox", name="Provider model name").fill("gpt-4o-mini")
    form.get_by_role("textbox", name="OpenAI API base URL").fill(f"{provider.url}/v1")
    form.get_by_role("textbox", name="OpenAI API key").fill("{{secrets/keys/openai}}")
    picture(page, "select-external-model")
    form.get_by_role("button", name="Confirm").click()
    expect(form).to_be_hidden()
    page.get_by_role("button", name="Create", exact=True).click()
    page.wait_for_url(f"**/ml/endpoints/{NAME}")
    expect_condition(page, "ready", 30)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(
        0
    )  # such endpoints have nothing to stop

    page.get_by_role("button", name="Use", exact=True).click()
    page.get_by_role("textbox", name="Message", exact=True).fill("Say hello to the harbour")
    page.keyboard.press("Enter")
    talk = page.get_by_role("log")
    expect(talk).to_contain_text("You said: Say hello to the harbour")  # the provider's answer
    answered = provider.requests()[-1]["body"]
    assert answered["messages"][-1]["content"] == "Say hello to the harbour"
    assert answered["stream"] is True
    expect(page.get_by_text("Output tokens").first).to_be_visible()
    picture(page, "playground")

    provider.fail_next("status", status=429)
    page.get_by_role("textbox", name="Message", exact=True).fill("Once more")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text=re.compile("429|limit", re.IGNORECASE)).first).to_be_visible()


def test_a_refusal_of_the_api_stands_at_its_field(open_page: Open, server: Server) -> None:
    page = open_page("/ml/endpoints/create", refusals=(400,))
    page.get_by_role("textbox", name="Name").fill("not a name!")
    page.get_by_role("button", name="Entity").click()
    form = entity_form(page)
    form.get_by_role("tab", name="External model").click()
    choose(page, form.get_by_role("combobox", name="Provider"), "Anthropic")
    form.get_by_role("textbox", name="Provider model name").fill("claude-sonnet-4-5")
    form.get_by_role("textbox", name="Anthropic API key").fill("{{secrets/no/such}}")
    form.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Create", exact=True).click()
    name = page.get_by_role("textbox", name="Name")
    expect(name).to_have_attribute("aria-invalid", "true")
    picture(page, "create-refused")
    name.fill("a-name")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text("no/such").or_(page.get_by_text("secret")).first).to_be_visible()
    assert server.http.get("/api/2.0/serving-endpoints/a-name").status_code == 404
