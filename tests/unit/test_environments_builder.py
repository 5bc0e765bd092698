"""The builder with an `uv` that only pretends: nothing is resolved, downloaded or installed."""

import asyncio
import json
import shutil
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from moorage.datadir import DataDirectory
from moorage.environments.builder import Environment, EnvironmentBuilder, EnvironmentBuildError
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpec
from moorage.environments.uv_process import Finished
from moorage.settings import EnvManager, Settings

SPEC = EnvironmentSpec("3.11.7", ("six==1.17.0",), (), (), (), Path("/models/a"), None)
OTHER = replace(SPEC, requirements=("six",))


class PretendedUv:
    """An `uv` whose installations end when they are released, with `status`; counts its runs by their verb."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.runs: list[str] = []
        self.status = 0
        self.installing = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()
        self.lines = ("Prepared 2 packages in 3ms", "Installed 2 packages in 1ms")
        self.program = shutil.which("true")

    async def run(self, *arguments, stdin=None, on_line=None, search_path=None) -> Finished:
        verb = next(each for each in arguments if each in ("list", "compile", "venv", "install"))
        self.runs.append(verb)
        if verb == "list":
            entry = {"version": "3.11.7", "path": "/python", "implementation": "cpython"}
            return Finished(0, json.dumps([entry]), ())
        if verb == "compile":
            return Finished(0, "six==1.17.0\norjson==3.11.0\n", ())
        if verb == "venv":
            python = Path(arguments[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.symlink_to(self.program)
            return Finished(0, "", ())
        self.installing.set()
        await self.released.wait()
        for line in self.lines:
            on_line(line)
        return Finished(self.status, "", ("error: disk on fire",) if self.status else ())


@pytest.fixture
def data(tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


@pytest.fixture
def log(tmp_path):
    return BuildLog(tmp_path / "build.log")


@pytest.fixture
def other_log(tmp_path):
    return BuildLog(tmp_path / "other.log")


def builder_of(data: DataDirectory, **settings: object) -> tuple[EnvironmentBuilder, PretendedUv]:
    builder = EnvironmentBuilder(Settings(**{"env_manager": "uv", "model_uid_base": 0, **settings}), data)
    uv = PretendedUv()
    builder._uv = uv
    return builder, uv


def messages(log: BuildLog) -> list[str]:
    return [line.split("] ", 1)[1] for line in log.path.read_text().splitlines()]


def steps(log: BuildLog) -> list[str]:
    ends = ("started", "done in", "failed after", "canceled after")
    found = [message for message in messages(log) if any(f": {end}" in message for end in ends)]
    return [message.split(" in ")[0].split(" after ")[0] for message in found]


def built_folders(data: DataDirectory) -> list[Path]:
    return [each for each in data.environments.iterdir() if each.name not in ("locks", "requests")]


def test_build_leaves_a_ready_environment_and_logs_every_step(data, log):
    builder, _ = builder_of(data)
    environment = asyncio.run(builder.ensure(SPEC, log))
    assert environment.manager is EnvManager.UV
    assert environment.python == builder.path(environment.key) / "venv" / "bin" / "python"
    assert builder.verify(environment) is None
    assert (builder.path(environment.key) / "requirements.txt").read_text() == "six==1.17.0\norjson==3.11.0\n"
    names = ("resolve", "download", "install", "verify import")
    assert steps(log) == [f"{name}: {end}" for name in names for end in ("started", "done")]


@pytest.mark.parametrize("lines", [(), ("Installed 1 package in 2ms",)])
def test_download_and_install_are_logged_although_uv_reports_no_download(data, log, lines):
    builder, uv = builder_of(data)
    uv.lines = lines
    asyncio.run(builder.ensure(SPEC, log))
    assert steps(log)[2:6] == ["download: started", "download: done", "install: started", "install: done"]


def test_same_request_again_skips_the_resolution_and_says_so(data, log, other_log):
    builder, uv = builder_of(data)
    first = asyncio.run(builder.ensure(SPEC, log))
    runs = list(uv.runs)
    assert asyncio.run(builder.ensure(replace(SPEC, model_path=Path("/models/b")), other_log)) == first
    assert uv.runs == runs
    assert f"environment {first.key} is ready, built 20" in other_log.path.read_text()
    assert messages(other_log)[-1].endswith("; reused")


def test_other_request_for_the_same_pins_reuses_the_environment(data, log, other_log):
    builder, uv = builder_of(data)
    first = asyncio.run(builder.ensure(SPEC, log))
    assert asyncio.run(builder.ensure(OTHER, other_log)) == first
    assert uv.runs.count("install") == 1


@pytest.mark.parametrize("second", [SPEC, OTHER])
def test_concurrent_builds_of_one_environment_happen_once(data, log, other_log, second):
    async def scenario():
        builder, uv = builder_of(data)
        uv.released.clear()
        waiting = asyncio.create_task(builder.ensure(SPEC, log))
        await uv.installing.wait()
        other = asyncio.create_task(builder.ensure(second, other_log))
        async with asyncio.timeout(10):
            while "waiting for it" not in other_log.path.read_text():  # noqa: ASYNC110 - a log gives no event
                await asyncio.sleep(0)
        uv.released.set()
        assert await waiting == await other
        assert uv.runs.count("install") == 1

    asyncio.run(scenario())


def test_failure_of_a_shared_build_reaches_everyone_with_its_reason(data, log, other_log):
    async def scenario():
        builder, uv = builder_of(data)
        uv.released.clear()
        uv.status = 1
        tasks = [asyncio.create_task(builder.ensure(SPEC, each)) for each in (log, other_log)]
        await uv.installing.wait()
        uv.released.set()
        for task in tasks:
            with pytest.raises(EnvironmentBuildError, match="requirements cannot be installed: disk on fire"):
                await task
        assert uv.runs.count("install") == 1

    asyncio.run(scenario())
    for each in (log, other_log):
        assert messages(each)[-1].endswith("requirements cannot be installed: disk on fire")
    assert built_folders(data) == []


def test_failed_build_is_tried_again(data, log):
    builder, uv = builder_of(data)
    uv.status = 1
    with pytest.raises(EnvironmentBuildError):
        asyncio.run(builder.ensure(SPEC, log))
    uv.status = 0
    assert builder.verify(asyncio.run(builder.ensure(SPEC, log))) is None


def test_cancelled_build_leaves_nothing(data, log):
    async def scenario():
        builder, uv = builder_of(data)
        uv.released.clear()
        task = asyncio.create_task(builder.ensure(SPEC, log))
        await uv.installing.wait()
        assert built_folders(data) != []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert built_folders(data) == []
    assert steps(log)[-1] == "download: canceled"


def test_build_that_takes_too_long_fails_with_its_limit(data, log):
    builder, uv = builder_of(data, env_build_timeout_seconds=0.2)
    uv.released.clear()
    with pytest.raises(EnvironmentBuildError, match=r"not built within 0\.2 s"):
        asyncio.run(builder.ensure(SPEC, log))
    assert built_folders(data) == []


def test_environment_that_cannot_run_is_not_ready(data, log):
    builder, uv = builder_of(data)
    uv.program = shutil.which("false")
    with pytest.raises(EnvironmentBuildError, match="installed but does not work"):
        asyncio.run(builder.ensure(SPEC, log))
    assert steps(log)[-1] == "verify import: failed"
    assert built_folders(data) == []


def test_unfinished_environment_is_wiped_and_built_again(data, log, other_log):
    builder, _ = builder_of(data)
    environment = asyncio.run(builder.ensure(SPEC, log))
    folder = builder.path(environment.key)
    (folder / "ready.json").unlink()
    (folder / "half-done").touch()
    assert asyncio.run(builder.ensure(SPEC, other_log)) == environment
    assert not (folder / "half-done").exists()
    assert builder.verify(environment) is None
    assert "unfinished or damaged" in other_log.path.read_text()


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [("ready.json", "ready.json is missing"), ("venv/bin/python", "venv/bin/python is missing")],
)
def test_damage_is_told_with_the_file(data, log, damaged, problem):
    builder, _ = builder_of(data)
    environment = asyncio.run(builder.ensure(SPEC, log))
    (builder.path(environment.key) / damaged).unlink()
    assert problem in builder.verify(environment)


@pytest.mark.parametrize("content", ["", "[]", '{"key": "other", "built": "2026-11-21"}'])
def test_invalid_record_is_damage(data, log, content):
    builder, _ = builder_of(data)
    environment = asyncio.run(builder.ensure(SPEC, log))
    (builder.path(environment.key) / "ready.json").write_text(content)
    assert "ready.json is no valid record" in builder.verify(environment)


def test_forgotten_environment_is_gone_and_built_again_when_wanted(data, log):
    builder, uv = builder_of(data)
    environment = asyncio.run(builder.ensure(SPEC, log))
    asyncio.run(builder.forget(environment.key))
    assert built_folders(data) == []
    assert list((data.environments / "requests").iterdir()) == []
    assert asyncio.run(builder.ensure(SPEC, log)) == environment
    assert uv.runs.count("install") == 2


@pytest.mark.parametrize("key", ["../../models", "", "0123", "ABCDEFABCDEFABCDEF"])
def test_no_folder_but_an_environments_can_be_forgotten(data, key):
    builder, _ = builder_of(data)
    with pytest.raises(ValueError, match="is no environment key"):
        asyncio.run(builder.forget(key))


def test_server_environment_is_used_when_it_satisfies_every_requirement(data, log):
    builder, uv = builder_of(data, env_manager="auto")
    spec = replace(SPEC, python=None, requirements=(f"pytest=={metadata.version('pytest')}",))
    environment = asyncio.run(builder.ensure(spec, log))
    assert (environment.manager, environment.python) == (EnvManager.LOCAL, Path(sys.executable))
    assert builder.verify(environment) is None
    assert builder.verify(replace(environment, python=Path("/gone"))) == "/gone is missing or cannot be run"
    assert uv.runs == []


def test_own_environment_is_built_with_the_reasons_in_the_log(data, log):
    builder, _ = builder_of(data, env_manager="auto")
    spec = replace(SPEC, requirements=("pytest==0.0.1",))
    assert asyncio.run(builder.ensure(spec, log)).manager is EnvManager.UV
    assert "the server's own environment is not used: pytest==0.0.1 is required" in log.path.read_text()


def test_local_manager_warns_of_what_is_not_satisfied(data, log):
    builder, _ = builder_of(data, env_manager="local")
    spec = replace(SPEC, python=None, requirements=("pytest==0.0.1",))
    assert asyncio.run(builder.ensure(spec, log)).manager is EnvManager.LOCAL
    assert "warning: the server's own environment is used although pytest==0.0.1" in log.path.read_text()


def test_conda_channels_and_packages_are_reported(data, log):
    builder, _ = builder_of(data)
    asyncio.run(builder.ensure(replace(SPEC, channels=("defaults",), conda_packages=("openjdk=11",)), log))
    text = log.path.read_text()
    assert "channel 'defaults' is listed in conda.yaml; channels are not used here" in text
    assert "conda package 'openjdk=11' is listed in conda.yaml" in text


def test_full_disk_is_a_build_error(data, log, monkeypatch):
    builder, _ = builder_of(data)

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moorage.environments.folders.EnvironmentFolders.mark_ready", full)
    with pytest.raises(EnvironmentBuildError, match=r"cannot be written: .*No space left"):
        asyncio.run(builder.ensure(SPEC, log))
    assert built_folders(data) == []


def test_environments_are_values():
    environment = Environment("a" * 32, Path("/python"), EnvManager.UV)
    assert environment == Environment("a" * 32, Path("/python"), EnvManager.UV)
    assert hash(environment) == hash(replace(environment))
