"""The web UI's document and files as the control plane answers with them, built and not built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_harness import ControlPlane, control_plane

from moorage.api.pages import is_open, is_page
from moorage.control.app import api_document

PAGES = ["/", "/ml", "/ml/endpoints", "/ml/endpoints/", "/ml/endpoints/ads/logs", "/settings", "/settings/tokens"]
SCRIPT = "export const answer = 42;\n" * 200


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
def built(plane: ControlPlane, tmp_path: Path) -> ControlPlane:
    """The same after the UI was built, with the server running."""
    bundle = tmp_path / "no-bundle"
    (bundle / "assets").mkdir(parents=True)
    (bundle / "index.html").write_text("<!doctype html><title>the UI</title>")
    (bundle / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (bundle / "assets" / "index-1a2b.js").write_text(SCRIPT)
    (tmp_path / "secret.js").write_text("not for anybody")
    return plane


@pytest.mark.parametrize("path", PAGES)
def test_without_a_bundle_each_page_says_how_to_build_it(plane: ControlPlane, path: str) -> None:
    answer = plane.request("GET", path, None)
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "make web" in answer.text


def test_without_a_bundle_the_api_and_the_plain_sign_in_are_there(plane: ControlPlane) -> None:
    assert plane.request("GET", "/api/2.0/serving-endpoints").status_code == 200
    assert 'action="/login"' in plane.request("GET", "/login", None).text
    assert plane.request("GET", "/favicon.svg", None).status_code == 404
    assert plane.request("GET", "/assets/index-1a2b.js", None).status_code == 404


@pytest.mark.parametrize("path", [*PAGES, "/login", "/login?return_to=/ml/endpoints"])
def test_each_page_is_the_one_document(built: ControlPlane, path: str) -> None:
    answer = built.request("GET", path, None)
    assert answer.status_code == 200
    assert "the UI" in answer.text
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy  # so that 'self' alone holds for scripts: none in the document runs


def test_a_code_in_the_address_still_signs_in_and_is_no_page(built: ControlPlane) -> None:
    answer = built.request("GET", "/login?code=wrong", None)
    assert answer.status_code == 403
    assert "the UI" not in answer.text


def test_files_are_kept_by_browsers_and_compressed(built: ControlPlane) -> None:
    answer = built.client.get("/assets/index-1a2b.js", headers={"Accept-Encoding": "gzip"})
    assert answer.text == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert "javascript" in answer.headers["content-type"]
    assert built.request("GET", "/favicon.svg", None).headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "path", ["/assets/../index.html", "/assets/..%2f..%2fsecret.js", "/assets/", "/assets/no.js"]
)
def test_nothing_but_files_of_the_bundle_is_served(built: ControlPlane, path: str) -> None:
    answer = built.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"


def test_pages_and_files_are_open_and_nothing_else_is() -> None:
    assert all(is_page(path) and is_open(path) for path in PAGES)
    assert is_open("/assets/index.js")
    assert is_open("/favicon.svg")
    closed = (
        "/api/2.0/serving-endpoints",
        "/mlflow/",
        "/mlx",
        "/settingsx",
        "/metrics",
        "/internal",
        "//ml/",
        "/assets",
    )
    assert not any(is_open(path) for path in closed)


def test_the_state_of_a_session_says_who_is_signed_in(plane: ControlPlane) -> None:
    stranger = plane.request("GET", "/api/2.0/moorage/session", None).json()
    assert stranger == {"version": stranger["version"], "sign_in_with_provider": False}
    state = plane.request("GET", "/api/2.0/moorage/session").json()
    assert state["user_name"]
    assert state["display_name"]
    assert state["is_admin"] in (True, False)


def test_the_api_document_has_every_route_but_pages() -> None:
    paths = api_document()["paths"]
    assert "/api/2.0/serving-endpoints/{name}/config" in paths
    assert not any(path.startswith(("/ml", "/settings")) or path == "/" for path in paths)


@pytest.mark.parametrize(
    ("printed", "page"),
    [
        ("/ml/experiments/7", "/mlflow/#/experiments/7"),
        ("/ml/experiments/7/runs/abc?o=4711", "/mlflow/#/experiments/7/runs/abc"),
        ("/explore/data/models/main/default/m", "/ml/models/main.default.m"),
        ("/explore/data/models/main/default/m 1/version/3?o=1", "/ml/models/main.default.m%201"),
    ],
)
def test_what_mlflow_prints_for_databricks_leads_to_a_page(plane: ControlPlane, printed: str, page: str) -> None:
    assert is_page(printed)
    answer = plane.request("GET", printed, None)
    assert (answer.status_code, answer.headers["location"]) == (307, page)
