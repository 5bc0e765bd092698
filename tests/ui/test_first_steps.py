"""What an empty workspace tells a newcomer to do is done, word for word, and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clicking import expect_condition
from conftest import Open, picture
from playwright.sync_api import expect
from server import Server, running_server

_SECONDS = 120


def run_in_shell(environment: str, code: str, folder: Path) -> str:
    """Python code after the lines of a shell that it needs, as one would paste them."""
    (folder / "step.py").write_text(code)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DATABRICKS_", "MLFLOW_", "MOORAGE_"))}
    script = f"{environment}\n{sys.executable} step.py"
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def empty_server() -> Iterator[Server]:
    """Where nothing is registered and nothing but the catalogue is served."""
    with running_server() as server:
        server.wait_for_catalogue()
        yield server


def test_the_three_steps_lead_to_an_answer(empty_server: Server, open_page: Open, tmp_path: Path) -> None:
    link = re.search(r"http\S+/login\?code=\S+", empty_server.log_path.read_text())
    assert link is not None
    page = open_page(link[0], token="", on=empty_server)
    me = page.request.get("/api/2.0/preview/scim/v2/Me").json()
    assert "admins" in [group["display"] for group in me["groups"]]
    assert httpx.get(link[0]).status_code == 403  # it signs in once
    expect(page.get_by_role("heading", name="Get started")).to_be_visible()
    picture(page, "home-empty")
    blocks = [block for block in page.locator("pre").all_inner_texts() if block.strip()]
    environment, log, create, query = (block.strip() for block in blocks)
    assert f"DATABRICKS_HOST={empty_server.url}" in environment
    environment = environment.replace("dapi...", empty_server.token)

    run_in_shell(environment, log, tmp_path)
    expect(page.get_by_text("There is a registered model")).to_be_visible()  # noticed without a reload
    run_in_shell(environment, create, tmp_path)
    said = run_in_shell(environment, query, tmp_path)
    assert "0" in said
    page.goto("/ml/endpoints/iris")
    expect_condition(page, "ready")
