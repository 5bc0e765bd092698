"""Serverless Real-Time Inference by clicks, as its documentation walks through it."""

from __future__ import annotations

from clicking import choose, click_and_hold
from conftest import Open, picture
from models import Registered, Registry
from playwright.sync_api import expect
from server import Server, wait_for

_LONG = 120_000


def two_versions(server: Server) -> Registered:
    """A registered model with two versions that no other test here has to do with."""
    Registry(server).register("xgboost")
    return Registry(server).register("xgboost")


def test_enable_score_move_and_disable(open_page: Open, server: Server) -> None:
    name = two_versions(server).name
    page = open_page(f"/ml/models/{name}")
    choose(page, page.get_by_role("combobox", name="Stage of version 1"), "Production")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Move").click()
    expect(dialog).to_be_hidden()

    page.get_by_role("tab", name="Serving").click()
    page.get_by_role("button", name="Enable Serverless Real-Time Inference").click()
    page.get_by_role("tab", name="Version 1").click()
    # The whole word: what a version says of itself before it is up has it too.
    version = page.get_by_role("tabpanel", name="Version 1")
    expect(version.get_by_text("Ready", exact=True)).to_be_visible(timeout=_LONG)
    page.get_by_role("button", name="Show example").click()
    page.get_by_role("button", name="Send request").click()
    expect(page.get_by_role("textbox", name="Response body")).to_contain_text("predictions", timeout=_LONG)
    expect(page.get_by_text(f"/model/{name}/1/invocations").first).to_be_visible()
    picture(page, "real-time-inference")

    page.get_by_role("tab", name="Logs").click()
    expect(page.get_by_role("combobox", name="Replica")).to_have_value("All replicas")
    page.get_by_role("tab", name="Model events").click()
    expect(page.get_by_role("row").nth(1)).to_be_visible()

    page.get_by_role("tab", name="Compute settings").click()
    production = page.get_by_role("group", name="Production")
    choose(page, production.get_by_role("combobox", name="Workload size"), "Medium")
    page.get_by_role("button", name="Save compute settings of Production").click()

    def is_medium() -> bool:
        answer = server.http.get(
            "/api/2.0/preview/mlflow/endpoints-v2/list-versions", params={"registered_model_name": name}
        )
        return "Medium" in answer.text

    wait_for("the size of Production", is_medium, 20)

    page.get_by_role("tab", name="Versions", exact=True).click()
    choose(page, page.get_by_role("combobox", name="Stage of version 2"), "Production")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("checkbox", name="Archive existing versions in this stage").check()
    dialog.get_by_role("button", name="Move").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("combobox", name="Stage of version 1")).to_have_value("Archived")
    page.get_by_role("tab", name="Serving").click()
    expect(page.get_by_role("tab", name="Version 2")).to_be_visible(timeout=_LONG)
    expect(page.get_by_role("tab", name="Version 1")).to_have_count(0, timeout=_LONG)

    page.get_by_role("button", name="Disable serving").click()
    disable = page.get_by_role("dialog").get_by_role("button", name="Disable serving")
    click_and_hold(page, disable, "/api/2.0/preview/mlflow/endpoints-v2/disable", about="endpoints")
    expect(page.get_by_role("button", name="Enable Serverless Real-Time Inference")).to_be_visible()
