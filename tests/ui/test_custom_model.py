"""A custom model's endpoint by clicks alone: from the form to its deletion."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from clicking import add_model, click_and_hold, expect_condition
from conftest import Open, picture
from models import Registered, own_predictions
from playwright.sync_api import Route, expect
from server import Server


def test_from_the_form_to_its_deletion(
    open_page: Open, server: Server, registered: Callable[[str], Registered]
) -> None:
    iris, mixed = registered("iris"), registered("with_params")
    page = open_page("/", refusals=(503,))
    page.get_by_role("navigation").get_by_role("link", name="Serving").click()
    page.get_by_role("link", name="Create serving endpoint").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Create serving endpoint")
    page.get_by_role("textbox", name="Name").fill("by-clicks")
    page.get_by_role("button", name="Entity").click()
    picture(page, "select-served-entity")
    add_model(page, iris.name)
    code = json.loads(page.get_by_role("region", name="JSON").inner_text())
    assert code["name"] == "by-clicks"
    assert code["config"]["served_entities"][0]["entity_name"] == iris.name
    page.get_by_role("button", name="Create", exact=True).click()

    page.wait_for_url("**/ml/endpoints/by-clicks")
    expect_condition(page, "ready", 120)  # without a reload

    page.get_by_role("button", name="Use", exact=True).click()
    page.get_by_role("button", name="Show example").click()
    editor = page.get_by_role("textbox", name="Request body (JSON)")
    expect(editor).to_contain_text("dataframe_split")
    page.get_by_role("button", name="Send request").click()
    answer = page.get_by_role("textbox", name="Response body")
    expect(answer).to_contain_text("predictions")
    expect(page.get_by_text("HTTP 200")).to_be_visible()
    expect(page.get_by_text("iris-1").first).to_be_visible()
    predictions = json.loads(answer.inner_text())["predictions"]
    sent = json.loads(editor.inner_text())
    assert predictions == own_predictions(server, iris, rows_of(sent))
    picture(page, "query-custom-model")

    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("button", name="Add served entity").click()
    add_model(page, mixed.name)
    shares = page.get_by_role("textbox", name=re.compile("^Traffic of"))
    expect(shares).to_have_count(2)
    shares.nth(0).fill("70")
    shares.nth(1).fill("20")
    expect(page.get_by_text("it must be 100 %")).to_be_visible()
    shares.nth(1).fill("30")
    expect(page.get_by_text("Traffic adds up to 100 %")).to_be_visible()
    page.get_by_role("button", name="Update", exact=True).click()
    page.wait_for_url("**/ml/endpoints/by-clicks")
    expect(page.get_by_text("70%", exact=True).first).to_be_visible(timeout=120_000)
    expect_condition(page, "ready", 120)
    expect(page.get_by_text("30%", exact=True).first).to_be_visible()
    picture(page, "endpoint-overview")
    routes = server.detail("by-clicks")["config"]["traffic_config"]["routes"]
    assert sorted(route["traffic_percentage"] for route in routes) == [30, 70]

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect_condition(page, "stopped", 60)
    page.get_by_role("button", name="Start", exact=True).click()
    expect_condition(page, "ready", 120)

    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    dialog.get_by_label("Type by-clicks to confirm").fill("by-clicks")
    path = "/api/2.0/serving-endpoints/by-clicks"

    def refuse_deletion(route: Route) -> None:
        if route.request.method == "DELETE":
            route.fulfill(status=503, json={"error_code": "TEMPORARILY_UNAVAILABLE", "message": "Not just now."})
        else:
            route.fallback()

    page.route(f"**{path}", refuse_deletion)
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_have_text("Not just now.")
    expect(page.get_by_text("iris-1").first).to_be_visible()  # the page is as it was
    page.unroute(f"**{path}")
    click_and_hold(page, dialog.get_by_role("button", name="Delete"), path, about=path)
    page.wait_for_url("**/ml/endpoints")
    expect(page.get_by_role("link", name="by-clicks", exact=True)).to_have_count(0)
    assert server.http.get("/api/2.0/serving-endpoints/by-clicks").status_code == 404


def rows_of(body: dict[str, Any]) -> Any:
    """The rows that a `dataframe_split` body holds."""
    import pandas as pd

    split = body["dataframe_split"]
    return pd.DataFrame(split["data"], columns=split["columns"])


def test_an_update_that_fails_stands_beside_what_serves(
    open_page: Open, server: Server, registered: Callable[[str], Registered]
) -> None:
    server.create("two-sided", registered("iris").name)
    server.ready("two-sided")
    page = open_page("/ml/endpoints/two-sided")
    entity = {
        "entity_name": registered("load_raises").name, "entity_version": "1", "workload_size": "Small",
        "scale_to_zero_enabled": False,
    }  # fmt: skip
    changed = server.http.put("/api/2.0/serving-endpoints/two-sided/config", json={"served_entities": [entity]})
    assert changed.status_code == 200, changed.text
    expect(page.get_by_role("heading", name="Active configuration")).to_be_visible()
    failed = page.get_by_role("heading", name="Failed configuration")
    expect(failed).to_be_visible(timeout=120_000)  # noticed without a reload, and said with its reason
    expect_condition(page, "readyFailed")
    expect(page.get_by_text("the weights are missing").first).to_be_visible()
    picture(page, "endpoint-update-failed")
    page.get_by_role("link", name=re.compile("Build log of")).first.click()
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")


def test_a_running_update_is_watched_and_canceled(
    open_page: Open, server: Server, registered: Callable[[str], Registered]
) -> None:
    server.create("changing", registered("iris").name)
    server.ready("changing")
    page = open_page("/ml/endpoints/changing")
    expect(page.get_by_role("button", name="Cancel update")).to_have_count(0)
    entity = {
        "entity_name": registered("as_told").name, "entity_version": "1", "workload_size": "Small",
        "scale_to_zero_enabled": False, "environment_vars": {"LOAD_SECONDS": "3600"},
    }  # fmt: skip
    changed = server.http.put("/api/2.0/serving-endpoints/changing/config", json={"served_entities": [entity]})
    assert changed.status_code == 200, changed.text
    expect(page.get_by_role("heading", name="Pending configuration")).to_be_visible()
    expect_condition(page, "updatingReady")
    picture(page, "endpoint-updating")
    page.get_by_role("button", name="Cancel update").click()
    expect(page.get_by_role("heading", name="Canceled configuration")).to_be_visible(timeout=60_000)
    expect_condition(page, "ready")
    assert server.detail("changing")["state"]["config_update"] == "UPDATE_CANCELED"


def test_logs_are_read_and_searched(open_page: Open, server: Server, registered: Callable[[str], Registered]) -> None:
    server.create("talkative", registered("misbehaves").name)
    server.ready("talkative")
    page = open_page("/ml/endpoints/talkative/logs")
    expect(page.get_by_role("combobox", name="Replica")).to_have_value("All replicas")
    asked = {"dataframe_records": [{"do": "say something rare"}]}
    assert server.http.post("/serving-endpoints/talkative/invocations", json=asked).status_code == 200
    expect(page.get_by_text("asked to say something rare").first).to_be_visible()  # it came by itself
    page.get_by_text("Build logs", exact=True).click()
    expect(page.get_by_text("asked to say something rare")).to_have_count(0)
    expect(page.get_by_text(re.compile("environment", re.IGNORECASE)).first).to_be_visible()
    page.goto("/ml/endpoints/talkative/events")
    expect(page.get_by_role("cell", name="REPLICA_READY").first).to_be_visible()
