"""`moorage check`: would this model version be served? Asked before an endpoint is created."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.connection import REFUSED, DataDir, Host, Output, Token, connected
from moorage.cli.output import OutputFormat, harmless, write, write_error, write_json

if TYPE_CHECKING:
    from moorage.cli.client import ApiClient, Json

CHECKS = "/api/2.0/model-checks"
_FINISHED = ("SUCCEEDED", "FAILED")
_STEP_ENDED = ("OK", "WARNING", "FAILED", "SKIPPED")
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
_LOG_LINES = 20
_INDENT = " " * 4
_CLEAR_LINE = "\r\x1b[K"

Model = Annotated[
    str, typer.Argument(help="models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS", show_default=False)
]
Variables = Annotated[
    list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="Variable of the model; repeat for several")
]
WorkloadType = Annotated[str | None, typer.Option(help="CPU, GPU_SMALL, ... (default CPU)")]


def check(
    model: Model,
    env: Variables = None,
    workload_type: WorkloadType = None,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Build a model's environment, load it and ask it its input example, without an endpoint

    Exit status 1 when it could not be served.
    """
    with connected(host, token, data_dir) as client:
        from moorage.cli.endpoint_bodies import ServedEntityOptions

        options = ServedEntityOptions(model=model, workload_type=workload_type, variables=tuple(env or ()))
        report = Report(write if output is OutputFormat.TEXT else write_error)
        found = follow(client, client.post(CHECKS, options.fields(client)), report)
        if output is OutputFormat.JSON:
            write_json(found)
        else:
            report.conclude(found)
        if found["state"] != "SUCCEEDED":
            raise typer.Exit(REFUSED)


class Report:
    """Says each step as it ends, and on a terminal what is being done meanwhile."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()
        self._on_terminal = sys.stderr.isatty()

    def tell(self, check: Json) -> None:
        """Say what is new."""
        self.clear()
        for step in check["steps"]:
            if step["state"] in _STEP_ENDED and step["name"] not in self._said:
                self._said.add(step["name"])
                self._say(step_text(step))
        running = [step for step in check["steps"] if step["state"] == "RUNNING"]
        if running:
            self._show(f"{running[0]['name']} ... {running[0].get('seconds', 0):.0f} s")
        elif check["state"] not in _FINISHED:
            self._show(check["message"])

    def clear(self) -> None:
        """Take away what was said of the step that runs."""
        self._show("")

    def conclude(self, check: Json) -> None:
        """Say the verdict, with the end of the build log where the build is what failed."""
        failed = [step["name"] for step in check["steps"] if step["state"] == "FAILED"]
        if failed == ["environment"]:
            lines = check.get("build_log", "").splitlines()[-_LOG_LINES:]
            self._say("\n".join(["", "The end of the build log:", *(_INDENT + line for line in lines)]))
        self._say(f"\n{check['message']}")

    def _show(self, text: str) -> None:
        """Take the place of the terminal's last line."""
        if self._on_terminal:
            sys.stderr.write(_CLEAR_LINE + harmless(text))
            sys.stderr.flush()


def step_text(step: Json) -> str:
    """One step: its state, its name, its time, and what it found; further lines are indented."""
    first, *rest = str(step.get("message", "")).splitlines() or [""]
    seconds = f"{step['seconds']:.2f} s" if "seconds" in step else "-"
    line = f"{step['state'].lower():<8} {step['name']:<12} {seconds:>9}  {first}".rstrip()
    return "\n".join([line, *(_INDENT + each for each in rest)])


def follow(
    client: ApiClient,
    check: Json,
    report: Report,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Json:
    """The check once it has finished. One that is broken off here is canceled on the server.

    Raises:
        ApiRefused: the server has forgotten the check: it was restarted, or somebody canceled it.
        Unreachable: the server has not answered for a minute.
    """
    path = f"{CHECKS}/{check['check_id']}"
    try:
        return _finished(client, path, report, clock, sleep)
    except KeyboardInterrupt:
        from moorage.cli.client import ApiRefused, Unreachable

        with suppress(ApiRefused, Unreachable):
            client.delete(path)
        raise
    finally:
        report.clear()


def _finished(
    client: ApiClient, path: str, report: Report, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Json:
    from moorage.cli.client import ApiRefused, Unreachable

    patience = clock() + _PATIENCE_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            check = client.get(path)
        except (ApiRefused, Unreachable) as error:
            if isinstance(error, ApiRefused) and error.status == 404:
                words = "The server has forgotten this check: it was restarted, or somebody canceled the check."
                raise ApiRefused(error.status, error.error_code, words) from error
            if (isinstance(error, ApiRefused) and not error.passing) or clock() > patience:
                raise
        else:
            patience = clock() + _PATIENCE_SECONDS
            report.tell(check)
            if check["state"] in _FINISHED:
                return check
        sleep(pause)
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.5)
