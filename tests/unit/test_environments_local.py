import platform
from importlib import metadata
from pathlib import Path

import pytest

from moorage.environments.local import satisfied_by_server, server_environment_key
from moorage.environments.requirements import EnvironmentSpec

PYTEST = metadata.version("pytest")
MINOR = ".".join(platform.python_version_tuple()[:2])


def spec(*requirements, python=None, constraints=(), options=()):
    return EnvironmentSpec(python, requirements, constraints, (), (), Path("/model"), None, options=options)


@pytest.mark.parametrize(
    "line",
    [
        f"pytest=={PYTEST}",
        f"PyTest == {PYTEST} --hash=sha256:00",
        "pytest",
        "pytest>=1,<1000",
        "nosuchpackage==1.0 ; python_version < '3'",
        "nosuchpackage ; extra == 'more'",
    ],
)
def test_installed_versions_satisfy(line):
    assert satisfied_by_server(spec(line)) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pytest==0.0.1", f"pytest==0.0.1 is required; {PYTEST} is installed"),
        ("nosuchpackage", "nosuchpackage is not installed"),
        ("/model/wheels/pytest-9.0-py3-none-any.whl", "names a path or URL"),
        ("-e /model/code", "names a path or URL"),
        ("pytest @ https://u:secret@host/pytest.whl", "pytest is required from a URL"),
        ("https://u:secret@host/pytest.whl", "https://***@host/pytest.whl names a path or URL"),
    ],
)
def test_other_requirements_are_given_as_reasons(line, reason):
    reasons = satisfied_by_server(spec("pytest", line))
    assert len(reasons) == 1
    assert reason in reasons[0]
    assert "secret" not in reasons[0]


def test_local_version_of_an_installed_build_satisfies_its_public_pin(monkeypatch):
    class Installed:
        version, requires = "2.1.0+cpu", None

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed)
    assert satisfied_by_server(spec("torch==2.1.0")) == []
    assert satisfied_by_server(spec("torch==2.1.0+cu121")) != []


def test_extras_must_be_installed_too(monkeypatch):
    class Installed:
        version, requires = "1.0", ["absent==2.0 ; extra == 'more'", "absent-too ; extra == 'other'"]

    real = metadata.distribution
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed if name == "pkg" else real(name))
    assert satisfied_by_server(spec("pkg")) == []
    assert satisfied_by_server(spec("pkg[more]")) == ["absent is not installed"]


def test_minor_version_of_python_must_match():
    reasons = satisfied_by_server(spec(python="3.1.4"))
    assert reasons == [f"the model needs Python 3.1.4; the server runs {platform.python_version()}"]


def test_another_micro_version_of_python_is_fine():
    assert satisfied_by_server(spec(python=f"{MINOR}.99")) == []


def test_constraints_bind_what_is_installed_only():
    assert satisfied_by_server(spec(constraints=("nosuchpackage<1",))) == []
    assert satisfied_by_server(spec(constraints=("pytest<1",))) == [
        f"pytest<1 is a constraint; {PYTEST} is installed"
    ]


def test_index_options_do_not_matter_but_remote_requirement_files_do():
    assert satisfied_by_server(spec(options=("--extra-index-url https://host/simple",))) == []
    assert satisfied_by_server(spec(options=("-r https://host/r.txt",))) != []


def test_key_of_the_server_follows_what_is_installed(monkeypatch):
    class Added:
        name, version = "added", "1.0"

    before = server_environment_key()
    assert before == server_environment_key()
    assert int(before, 16)
    assert len(before) >= 16
    installed = list(metadata.distributions())
    monkeypatch.setattr(metadata, "distributions", lambda: [*installed, Added])
    assert server_environment_key() != before
