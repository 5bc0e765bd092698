"""The `moorage` command."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from moorage import __version__
from moorage.cli import endpoints, models, secrets
from moorage.cli.check import check
from moorage.cli.configuration import BadConfiguration, load_settings
from moorage.settings import Settings

app = typer.Typer(
    help="Moorage: the Databricks Model Serving API on your own machines",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(endpoints.app, name="endpoints")
app.add_typer(models.app, name="models")
app.add_typer(secrets.app, name="secrets")
app.command()(check)

Host = Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1)")]
Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one (default 8080)")]
DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept (default ~/.moorage)")]

_CONFIGURATION = 2
_FAILED = 1


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    gateway_workers: Annotated[int | None, typer.Option(help="Processes that answer requests (default 1)")] = None,
    mlflow_uri: Annotated[str | None, typer.Option(help="MLflow server to use instead of the embedded one")] = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C"""
    from moorage.supervisor.bootstrap import CannotStart
    from moorage.supervisor.serve import serve as run_server

    settings = _settings(host, port, data_dir, gateway_workers, mlflow_uri)
    try:
        status = run_server(settings)
    except CannotStart as error:
        _fail(str(error), _CONFIGURATION)
    raise typer.Exit(status)


@app.command()
def env(data_dir: DataDir = None) -> None:
    """Print how to connect to a server of this machine, as shell exports"""
    from moorage.control.admin_env import read_admin_env
    from moorage.datadir import DataDirectory

    data = DataDirectory(_settings(data_dir=data_dir).data_dir)
    try:
        variables = read_admin_env(data.admin_env)
    except FileNotFoundError:
        _fail(
            f"no Moorage server has started in {data.root} yet; start one with: "
            f"moorage serve --data-dir {shlex.quote(str(data.root))}",
            _FAILED,
        )
    except OSError as error:
        _fail(f"cannot read {data.admin_env}: {error.strerror}", _FAILED)
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def version() -> None:
    """Print the version"""
    typer.echo(f"moorage {__version__} (Python {platform.python_version()})")


@app.command()
def doctor(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Check whether this machine can run the server; exit status 1 when it cannot"""
    from moorage.cli.doctor import Outcome, examine

    findings = examine(_settings(host, port, data_dir))
    for finding in findings:
        typer.echo(f"{finding.outcome.value:<7} {finding.name}: {finding.message}")
    if any(finding.outcome is Outcome.FAILED for finding in findings):
        raise typer.Exit(_FAILED)


def _settings(
    host: str | None = None,
    port: int | None = None,
    data_dir: Path | None = None,
    gateway_workers: int | None = None,
    mlflow_uri: str | None = None,
) -> Settings:
    try:
        return load_settings(
            host=host, port=port, data_dir=data_dir, gateway_workers=gateway_workers, mlflow_uri=mlflow_uri
        )
    except BadConfiguration as error:
        _fail(str(error), _CONFIGURATION)


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)
