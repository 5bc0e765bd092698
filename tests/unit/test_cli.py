"""The `moorage` command, without a server behind it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import moorage
from moorage.cli import doctor
from moorage.cli.doctor import Finding, Outcome
from moorage.cli.main import app
from moorage.control.admin_env import write_admin_env
from moorage.datadir import DataDirectory
from moorage.settings import Settings
from moorage.supervisor import serve as serving
from moorage.supervisor.bootstrap import held


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MOORAGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_version(runner: CliRunner) -> None:
    result = runner.invoke(app, ["version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"moorage {moorage.__version__} ")


def test_options_override_the_environment(runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings] = []

    def record(settings: Settings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(serving, "serve", record)
    monkeypatch.setenv("MOORAGE_PORT", "9000")
    monkeypatch.setenv("MOORAGE_HOST", "127.0.0.2")
    options = ["--port", "9001", "--data-dir", str(tmp_path), "--gateway-workers", "2"]
    result = runner.invoke(app, ["serve", *options, "--mlflow-uri", "http://mlflow.example"])
    assert result.exit_code == 0, result.output
    [settings] = seen
    assert (settings.port, settings.host, settings.gateway_workers) == (9001, "127.0.0.2", 2)
    assert (settings.data_dir, settings.mlflow_uri) == (tmp_path, "http://mlflow.example")


def test_the_exit_status_of_the_server_is_the_commands(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "serve", lambda settings: 1)
    assert runner.invoke(app, ["serve"]).exit_code == 1


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (["--gateway-workers", "0"], {}, "error: --gateway-workers should be greater than or equal to 1\n"),
        (["--mlflow-uri", "sqlite:///x"], {}, "error: --mlflow-uri must be an http:// or https:// URL\n"),
        (
            [],
            {"MOORAGE_LOG_LEVEL": "loud"},
            "error: MOORAGE_LOG_LEVEL log_level must be DEBUG, INFO, WARNING or ERROR\n",
        ),
        (
            ["--port", "70000"],
            {"MOORAGE_DRAIN_SECONDS": "-1"},
            "error: --port should be less than or equal to 65535; "
            "MOORAGE_DRAIN_SECONDS should be greater than or equal to 0\n",
        ),
    ],
)
def test_bad_configuration_is_one_line_and_status_2(
    runner: CliRunner,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = runner.invoke(app, ["serve", *options])
    assert result.exit_code == 2
    assert result.stderr == message
    assert result.stdout == ""


def test_a_taken_port_is_one_line_and_status_2(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = _moorage("serve", "--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert result.returncode == 2
    assert result.stderr == (f"error: port {port} on 127.0.0.1 is taken by another program; choose one with --port\n")


def test_a_held_data_directory_is_one_line_and_status_2(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    with held(data):
        result = _moorage("serve", "--data-dir", str(data.root), "--port", "0")
    assert result.returncode == 2
    assert result.stderr == (
        f"error: data directory {data.root} is in use by another Moorage server (pid {os.getpid()})\n"
    )


def test_a_data_directory_that_cannot_be_made_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = _moorage("serve", "--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    assert result.returncode == 2
    assert result.stderr == f"error: cannot use {tmp_path}/file/data as data directory: Not a directory\n"


def test_env_prints_exports_that_a_shell_reads_back(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data with 'quotes' and $HOME")
    data.create()
    variables = {"DATABRICKS_HOST": "http://127.0.0.1:8080", "DATABRICKS_TOKEN": "it's $(odd) `here`"}
    write_admin_env(data.admin_env, variables)
    exports = _moorage("env", "--data-dir", str(data.root)).stdout
    shell = subprocess.run(
        ["sh", "-c", exports + '\nprintf "%s\\n" "$DATABRICKS_HOST" "$DATABRICKS_TOKEN"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout.splitlines() == list(variables.values())


def test_env_without_a_server_says_how_to_start_one(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(app, ["env", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"error: no Moorage server has started in {tmp_path} yet; "
        f"start one with: moorage serve --data-dir {tmp_path}\n"
    )


def test_doctor_fails_when_a_check_does(runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    findings = [Finding("port", Outcome.OK, "free"), Finding("disk", Outcome.WARNING, "little")]
    monkeypatch.setattr(doctor, "examine", lambda settings: findings)
    result = runner.invoke(app, ["doctor", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout == "ok      port: free\nwarning disk: little\n"
    findings.append(Finding("uv", Outcome.FAILED, "gone"))
    assert runner.invoke(app, ["doctor"]).exit_code == 1


def test_doctor_finds_what_this_machine_has() -> None:
    assert doctor.check_python().outcome is Outcome.OK
    assert doctor.check_uv().outcome is Outcome.OK
    assert ".".join(map(str, sys.version_info[:2])) in doctor.check_interpreters().message


def test_doctor_names_a_taken_port_and_a_bad_directory(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        finding = doctor.check_port("127.0.0.1", other.getsockname()[1])
    assert finding.outcome is Outcome.FAILED
    assert "--port" in finding.message
    (tmp_path / "file").write_text("")
    assert doctor.check_data_directory(tmp_path / "file").outcome is Outcome.FAILED
    assert doctor.check_data_directory(tmp_path / "new" / "data").outcome is Outcome.OK
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(("available_kb", "outcome"), [(1024 * 1024, Outcome.WARNING), (8 * 1024 * 1024, Outcome.OK)])
def test_doctor_reads_available_memory(tmp_path: Path, available_kb: int, outcome: Outcome) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable: {available_kb} kB\n")
    assert doctor.check_memory(meminfo).outcome is outcome


def _moorage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moorage", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
