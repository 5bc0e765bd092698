import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.uv_process import explain, run_command, shorten, uv_environment
from moorage.settings import Settings

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            (
                "warning: something else",
                "error: No solution found when resolving dependencies",
                "  cause: Because nosuch was not found in the package registry and you require nosuch==1.0, "
                "we can conclude that your requirements are unsatisfiable.",
            ),
            "nosuch==1.0 was not found in the package index",
        ),
        (
            (
                "  × No solution found when resolving dependencies:",
                "  ╰─▶ Because there is no version of six==99 and you require six==99, we can",
                "      conclude that your requirements are unsatisfiable.",
            ),
            "Because there is no version of six==99 and you require six==99",
        ),
        (
            ("error: Request failed after 3 retries", "  Caused by: Failed to fetch: http://u:p@host/six/"),
            "Request failed after 3 retries; Failed to fetch: http://***@host/six/",
        ),
        ((), "uv gave no reason"),
    ],
)
def test_error_of_uv_becomes_the_reason_in_words(lines, reason):
    assert explain(lines) == reason


def test_reason_keeps_its_beginning_and_its_end_within_the_limit():
    text = explain(("error: Failed to build pkg", *["trace" * 40] * 100, "ValueError: the cause"))
    assert len(text) <= 2000
    assert text.startswith("Failed to build pkg")
    assert text.endswith("ValueError: the cause")
    assert shorten("short") == "short"


def test_uv_gets_no_setting_or_secret_of_ours(monkeypatch):
    for name in (
        "MOORAGE_ENV_INDEX_URL",
        "DATABRICKS_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "UV_PUBLISH_TOKEN",
        "UV_PYTHON",
    ):
        monkeypatch.setenv(name, "secret")
    environment = uv_environment(Settings(env_index_url=None))
    assert "secret" not in environment.values()


def test_uv_gets_its_own_variables_and_those_of_the_network(monkeypatch):
    names = ("UV_CACHE_DIR", "SSL_CERT_FILE", "HTTPS_PROXY", "no_proxy", "PATH")
    for name in names:
        monkeypatch.setenv(name, f"of {name}")
    environment = uv_environment(Settings())
    assert {name: environment[name] for name in names} == {name: f"of {name}" for name in names}


def test_index_settings_come_before_those_of_the_server(monkeypatch):
    monkeypatch.setenv("UV_INDEX_URL", "https://other/simple")
    monkeypatch.setenv("UV_INDEX", "https://third/simple")
    monkeypatch.setenv("UV_FIND_LINKS", "/c")
    settings = Settings(
        env_index_url="https://u:p@first/simple",
        env_extra_index_urls="https://second/simple",
        env_find_links="/a, /b",
    )
    environment = uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://u:p@first/simple"
    assert environment["UV_INDEX"] == "https://second/simple https://third/simple"
    assert environment["UV_FIND_LINKS"] == "/a,/b,/c"
    assert "UV_INDEX_URL" not in environment


def test_error_lines_arrive_one_by_one_however_long_they_are():
    seen = []
    script = "printf 'first\\n' >&2; head -c 300000 /dev/zero | tr '\\0' x >&2; printf '\\nlast' >&2; cat; exit 3"
    finished = asyncio.run(run_command(["sh", "-c", script], ENVIRONMENT, stdin="input", on_line=seen.append))
    assert (finished.status, finished.output) == (3, "input")
    assert (seen[0], seen[-1]) == ("first", "last")
    assert sum(map(len, seen)) == 300_009
    assert finished.error_lines == tuple(seen)


@pytest.mark.parametrize("script", ["sleep 600 & echo $! >&2; wait", "sleep 600 & echo $! >&2"])
def test_cancelling_kills_the_whole_process_group_even_when_its_leader_has_ended(script):
    async def cancel_once_it_runs() -> None:
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        command = ["sh", "-c", script]
        task = asyncio.create_task(
            run_command(command, ENVIRONMENT, on_line=lambda line: started.set_result(int(line)))
        )
        grandchild = await started
        try:
            assert is_running(grandchild)
            task.cancel()
            await asyncio.wait({task}, timeout=20)
            assert task.cancelled()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    while is_running(grandchild):  # noqa: ASYNC110 - nobody is told when a grandchild ends
                        await asyncio.sleep(0.01)
            assert not is_running(grandchild)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(grandchild, signal.SIGKILL)

    asyncio.run(cancel_once_it_runs())


def test_command_that_cannot_be_started_is_a_build_error():
    with pytest.raises(EnvironmentBuildError, match="/nowhere/uv cannot be started: No such file"):
        asyncio.run(run_command(["/nowhere/uv"], ENVIRONMENT))
