import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.interpreters import Interpreter, choose, find_interpreter, parse_listing, search_path
from moorage.environments.log import BuildLog
from moorage.environments.uv_process import Finished


def entry(version: str, path: str | None = None, implementation: str = "cpython", variant: str = "default"):
    path = path or f"/python/{version}"
    return {"version": version, "path": path, "implementation": implementation, "variant": variant}


class ListingUv:
    """Lists the `installed` versions; `python install` adds the one it is asked for, when it is `available`."""

    def __init__(self, *installed: str, downloads: str = "", available: bool = True) -> None:
        self.environment = {"PATH": "/bin"} | ({"UV_PYTHON_DOWNLOADS": downloads} if downloads else {})
        self.installed = list(installed)
        self.available = available

    async def run(self, *arguments, on_line=None, search_path=None) -> Finished:
        if arguments[:2] == ("python", "install"):
            if not self.available:
                return Finished(1, "", ("error: No download found",))
            self.installed.append(arguments[2])
            return Finished(0, "", ())
        return Finished(0, json.dumps([entry(version) for version in self.installed]), ())


@pytest.fixture
def log(tmp_path):
    return BuildLog(tmp_path / "build.log")


INSTALLED = [Interpreter(Path(f"/{v}"), v, "cpython") for v in ("3.12.1", "3.11.2", "3.11.10", "3.11.7")]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("3.11.2", "3.11.2"), ("3.11.4", "3.11.10"), ("3.11", "3.11.10"), ("3.12.9", "3.12.1"), ("3.10.1", None)],
)
def test_exact_version_wins_then_the_newest_of_the_same_minor(wanted, chosen):
    found = choose(INSTALLED, wanted)
    assert (found.version if found else None) == chosen


def test_listing_keeps_installed_regular_cpython_only():
    listing = [
        entry("3.13.0"),
        entry("3.13.0", variant="freethreaded"),
        entry("3.10.1", implementation="pypy"),
        {**entry("3.9.1"), "path": None},
    ]
    assert [each.version for each in parse_listing(json.dumps(listing))] == ["3.13.0"]


def test_shims_are_replaced_by_the_interpreters_behind_them(tmp_path):
    for version in ("3.10.13", "3.12.1", "2.7.18"):
        (tmp_path / "versions" / version / "bin").mkdir(parents=True)
    path = search_path(os.pathsep.join([str(tmp_path / "shims"), "/usr/bin"])).split(os.pathsep)
    versions = tmp_path / "versions"
    assert path == [f"{sys.base_prefix}/bin", f"{versions}/3.10.13/bin", f"{versions}/3.12.1/bin", "/usr/bin"]


def test_another_micro_version_is_noted_in_the_log(log):
    found = asyncio.run(find_interpreter(ListingUv("3.11.2"), "3.11.7", log))
    assert found.path == Path("/python/3.11.2")
    assert "logged with Python 3.11.7; Python 3.11.2 is used" in log.path.read_text()


def test_absent_version_fails_with_those_on_the_machine(log):
    with pytest.raises(EnvironmentBuildError, match=r"Python 3\.14\.1, .* versions: 3\.11\.7, 3\.12\.1"):
        asyncio.run(find_interpreter(ListingUv("3.11.7", "3.11.7", "3.12.1"), "3.14.1", log))


def test_nothing_is_downloaded_unless_the_user_said_so(log):
    uv = ListingUv("3.11.7", downloads="manual")
    with pytest.raises(EnvironmentBuildError):
        asyncio.run(find_interpreter(uv, "3.12.1", log))
    assert uv.installed == ["3.11.7"]


def test_download_that_the_user_allowed_is_a_step_of_the_log(log):
    found = asyncio.run(find_interpreter(ListingUv(downloads="automatic"), "3.12.1", log))
    assert found.version == "3.12.1"
    assert "download Python 3.12.1: done" in log.path.read_text()


def test_download_that_fails_says_why(log):
    uv = ListingUv(downloads="automatic", available=False)
    with pytest.raises(EnvironmentBuildError, match=r"Python 3\.12\.1 cannot be downloaded: No download found"):
        asyncio.run(find_interpreter(uv, "3.12.1", log))


def test_python_that_replicas_do_not_run_on_is_refused_at_once(log):
    with pytest.raises(EnvironmentBuildError, match=r"3\.8\.18; models run on Python 3\.9 and later"):
        asyncio.run(find_interpreter(ListingUv("3.8.18"), "3.8.18", log))
