import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.interpreters import Interpreter
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpec, LocalArtifact
from moorage.environments.resolution import environment_key, lines_file, request_digest, resolve
from moorage.environments.uv_process import Finished

PYTHON = Interpreter(Path("/python"), "3.11.7", "cpython")
SPEC = EnvironmentSpec("3.11.7", ("six==1.17.0",), (), (), (), Path("/models/a"), None)
BUILD = replace(SPEC, build_dependencies=("setuptools==65.5.0",))


class CompilingUv:
    """Pins whatever it gets, unless a line names one of the packages that are `broken`; keeps every call."""

    def __init__(self, *broken: str, error: str = "Because {} was not found") -> None:
        self.environment: dict[str, str] = {}
        self.broken = broken
        self.error = error
        self.inputs: list[list[str]] = []
        self.arguments: list[list[str]] = []

    async def run(self, *arguments, stdin=None, on_line=None) -> Finished:
        self.arguments.append([str(each) for each in arguments])
        lines = stdin.splitlines()
        self.inputs.append(lines)
        for name in self.broken:
            if any(line.startswith(name) for line in lines):
                return Finished(1, "", (f"error: {self.error.format(name)}",))
        return Finished(0, "\n".join(line.split(" --")[0] for line in lines if line[0] != "-"), ())


def resolved(uv: CompilingUv, spec: EnvironmentSpec, log: BuildLog):
    return asyncio.run(resolve(uv, spec, PYTHON, log))


@pytest.fixture
def log(tmp_path):
    return BuildLog(tmp_path / "build.log")


def test_package_of_the_serving_runtime_is_added_and_the_log_says_so(log):
    assert "orjson" in resolved(CompilingUv(), SPEC, log).pins
    assert "orjson is added for the serving runtime" in log.path.read_text()


def test_package_of_the_serving_runtime_that_the_model_pins_is_left_alone(log):
    uv = CompilingUv()
    resolved(uv, replace(SPEC, requirements=("orjson==3.9.0",)), log)
    assert uv.inputs == [["orjson==3.9.0"]]
    assert "--only-binary" not in uv.arguments[0]
    assert "is added" not in log.path.read_text()


@pytest.mark.parametrize("name", ["orjson", "setuptools"])
def test_companion_that_stands_in_the_way_is_left_out(log, name):
    pins = resolved(CompilingUv(name), BUILD, log).pins
    assert len(pins) == 2
    assert not any(pin.startswith(name) for pin in pins)
    assert f"going on without {name}" in log.path.read_text()


def test_requirement_that_cannot_be_found_fails_the_resolution_at_once(log):
    uv = CompilingUv("six")
    with pytest.raises(EnvironmentBuildError, match="requirements cannot be installed: Because six was not found"):
        resolved(uv, BUILD, log)
    assert len(uv.inputs) == 1


def test_unreachable_index_is_no_reason_to_try_without_companions(log):
    uv = CompilingUv("orjson", error="Failed to fetch: https://host/simple/{}/")
    with pytest.raises(EnvironmentBuildError, match="Failed to fetch"):
        resolved(uv, SPEC, log)
    assert len(uv.inputs) == 1


def test_options_of_the_model_reach_uv_before_the_requirements(log):
    uv = CompilingUv()
    resolved(uv, replace(SPEC, options=("--extra-index-url https://u:p@host", "--pre")), log)
    assert uv.inputs == [["--extra-index-url https://u:p@host", "six==1.17.0", "orjson"]]
    assert "--prerelease" in uv.arguments[0]
    assert not any("u:p" in argument for argument in uv.arguments[0])


def test_hashes_of_the_requirements_stay_with_their_pins(log):
    spec = replace(SPEC, requirements=("Six==1.17.0 --hash=sha256:aa --hash=sha256:bb", "numpy==1.0"))
    assert resolved(CompilingUv(), spec, log).pins[:2] == (
        "Six==1.17.0 --hash=sha256:aa --hash=sha256:bb",
        "numpy==1.0",
    )


def test_lines_file_lives_for_the_block_only():
    with lines_file("--constraints", ["six<2"]) as (flag, path):
        assert (flag, Path(path).read_text()) == ("--constraints", "six<2\n")
    assert not Path(path).exists()
    with lines_file("--constraints", []) as arguments:
        assert arguments == []


def test_key_follows_interpreter_and_pins_but_not_their_order():
    key = environment_key(SPEC, PYTHON, ["a==1", "b==1"])
    assert key == environment_key(SPEC, PYTHON, ["b==1", "a==1"])
    assert key != environment_key(SPEC, PYTHON, ["a==1", "b==2"])
    assert key != environment_key(SPEC, replace(PYTHON, version="3.11.8"), ["a==1", "b==1"])
    assert int(key, 16) >= 0
    assert len(key) >= 16


def wheel_spec(folder: str, digest: str) -> EnvironmentSpec:
    wheel = Path(folder, "wheels", "pkg-1.0-py3-none-any.whl")
    return replace(
        SPEC, model_path=Path(folder), requirements=(str(wheel),), artifacts=(LocalArtifact(wheel, digest),)
    )


def keys(spec: EnvironmentSpec) -> tuple[str, str]:
    return environment_key(spec, PYTHON, spec.requirements), request_digest(spec, {})


def test_wheel_in_the_model_counts_by_its_content_not_by_where_the_model_lies():
    assert keys(wheel_spec("/models/a", "1" * 64)) == keys(wheel_spec("/models/b", "1" * 64))
    first, second = keys(wheel_spec("/models/a", "1" * 64)), keys(wheel_spec("/models/a", "2" * 64))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_wheels_that_are_found_through_links_enter_the_key_too():
    def spec(digest: str) -> EnvironmentSpec:
        return replace(SPEC, artifacts=(LocalArtifact(Path("/models/a/wheels"), digest),))

    assert environment_key(spec("1" * 64), PYTHON, ["pkg==1.0"]) != environment_key(
        spec("2" * 64), PYTHON, ["pkg==1.0"]
    )


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, python="3.10.1"),
        replace(SPEC, requirements=("six==1.16.0",)),
        replace(SPEC, constraints=("six==1.17.0",)),
        replace(SPEC, options=("--pre",)),
        BUILD,
    ],
)
def test_request_digest_follows_everything_that_is_asked_for(other):
    assert request_digest(SPEC, {}) != request_digest(other, {})


def test_request_digest_follows_the_indexes_but_not_the_channels():
    assert request_digest(SPEC, {"UV_DEFAULT_INDEX": "a"}) != request_digest(SPEC, {"UV_DEFAULT_INDEX": "b"})
    assert request_digest(SPEC, {"LANG": "a"}) == request_digest(SPEC, {"LANG": "b"})
    assert request_digest(SPEC, {}) == request_digest(replace(SPEC, channels=("defaults",)), {})
