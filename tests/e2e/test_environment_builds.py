"""Environments built by the real `uv` from small real packages."""

import asyncio
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.datadir import DataDirectory
from moorage.environments.builder import EnvironmentBuilder, EnvironmentBuildError
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpec, LocalArtifact
from moorage.settings import Settings

PYTHON = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def data(tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.create(for_other_users=True)
    return directory


@pytest.fixture
def log(tmp_path):
    return BuildLog(tmp_path / "build.log")


def spec(*requirements: str, **fields: object) -> EnvironmentSpec:
    return replace(EnvironmentSpec(PYTHON, requirements, (), (), (), Path("/model"), None), **fields)


def build(data: DataDirectory, wanted: EnvironmentSpec, log: BuildLog, **settings: object) -> Path:
    builder = EnvironmentBuilder(Settings(**{"env_manager": "uv", **settings}), data)
    environment = asyncio.run(builder.ensure(wanted, log))
    assert builder.verify(environment) is None
    return environment.python


def says(python: Path, code: str) -> str:
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def make_wheel(folder: Path, value: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "moorage_sample-1.0-py3-none-any.whl"
    info = "moorage_sample-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("moorage_sample.py", f"VALUE = {value}\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: moorage-sample\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_pins_constraints_and_the_serving_package_are_installed(data, log):
    wanted = spec("six", "cloudpickle==3.1.1", constraints=("six==1.16.0",))
    python = build(data, wanted, log)
    code = "import cloudpickle, orjson, six; print(cloudpickle.__version__, six.__version__)"
    assert says(python, code) == "3.1.1 1.16.0"


def test_server_started_in_a_project_does_not_let_it_decide(data, log, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\noverride-dependencies = ["six==1.15.0"]\n')
    monkeypatch.chdir(tmp_path)
    assert says(build(data, spec("six==1.16.0"), log), "import six; print(six.__version__)") == "1.16.0"


def test_reason_names_the_package_that_does_not_exist(data, log):
    with pytest.raises(EnvironmentBuildError) as failed:
        build(data, spec("six", "nosuchpackage-of-moorage==1.0"), log)
    reason = "requirements cannot be installed: nosuchpackage-of-moorage==1.0 was not found in the package index"
    assert str(failed.value) == reason
    assert log.path.read_text().rstrip().endswith(reason)


def test_reason_names_what_contradicts_itself(data, log):
    with pytest.raises(EnvironmentBuildError, match=r"you require six==1\.16\.0 and six==1\.17\.0"):
        build(data, spec("six==1.16.0", "six==1.17.0"), log)


def test_build_dependency_gives_way_to_a_constraint(data, log):
    wanted = spec("six==1.17.0", constraints=("setuptools<60",), build_dependencies=("setuptools==65.5.0",))
    build(data, wanted, log)
    assert "going on without setuptools" in log.path.read_text()


def test_absent_python_is_named_with_those_on_the_machine(data, log):
    with pytest.raises(EnvironmentBuildError) as failed:
        build(data, spec("six", python="3.99.1"), log)
    assert "the model needs Python 3.99.1" in str(failed.value)
    assert PYTHON in str(failed.value)


def test_changed_wheel_in_a_model_gives_another_environment(data, log, tmp_path):
    for value in (1, 2):
        wheel = make_wheel(tmp_path / "a model" / "wheels", value)
        wanted = spec(str(wheel), artifacts=(LocalArtifact(wheel, str(value) * 64),))
        assert says(build(data, wanted, log), "import moorage_sample as m; print(m.VALUE)") == str(value)


def test_wheels_of_the_find_links_setting_are_found(data, log, tmp_path):
    make_wheel(tmp_path / "links", 3)
    python = build(data, spec("moorage-sample"), log, env_find_links=str(tmp_path / "links"))
    assert says(python, "import moorage_sample as m; print(m.VALUE)") == "3"


def test_wheels_of_a_models_own_find_links_are_found(data, log, tmp_path):
    make_wheel(tmp_path / "a model" / "wheels", 4)
    wanted = spec("moorage-sample==1.0", options=(f"--find-links {tmp_path}/a model/wheels",))
    assert says(build(data, wanted, log), "import moorage_sample as m; print(m.VALUE)") == "4"


def test_hash_that_does_not_match_fails_the_build(data, log):
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch"):
        build(data, spec(f"six==1.17.0 --hash=sha256:{'0' * 64}"), log)


def test_password_of_an_index_is_nowhere_in_log_or_environment(data, log, monkeypatch):
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    wanted = spec("six==1.17.0", options=("--extra-index-url http://user:hunter2@127.0.0.1:9/simple",))
    with pytest.raises(EnvironmentBuildError) as failed:
        build(data, wanted, log)
    assert "hunter2" not in str(failed.value)
    for path in [log.path, *data.root.rglob("*")]:
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_two_processes_that_want_the_same_build_it_once(data, tmp_path):
    script = """
import asyncio, sys
from pathlib import Path
from moorage.datadir import DataDirectory
from moorage.environments.builder import EnvironmentBuilder
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpec
from moorage.settings import Settings
spec = EnvironmentSpec(sys.argv[3], ("six==1.17.0",), (), (), (), Path("/model"), None)
builder = EnvironmentBuilder(Settings(env_manager="uv"), DataDirectory(Path(sys.argv[1])))
print(asyncio.run(builder.ensure(spec, BuildLog(Path(sys.argv[2])))).key)
"""
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    commands = [[sys.executable, "-c", script, str(data.root), str(log), PYTHON] for log in logs]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    keys = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(keys) == 1
    texts = [log.read_text() for log in logs]
    assert sum("install: done" in text for text in texts) == 1
    assert sum("reused" in text for text in texts) == 1
