"""`moorage serve` from settings to exit status."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from moorage import __version__
from moorage.compute.reach import OutOfReach, covers, places, require_capabilities
from moorage.datadir import DataDirectory
from moorage.guardrails.installed import guardrails_installed
from moorage.separation import NOT_SEPARATED, models_are_separated
from moorage.settings import Settings
from moorage.supervisor.bootstrap import CannotStart, held, prepare_data
from moorage.supervisor.health import Health, fetch_health
from moorage.supervisor.programs import control_spec, gateway_specs, guardrails_spec, mlflow_spec, tables_spec
from moorage.supervisor.server import Group, Plan, Supervisor, stop_budgets
from moorage.supervisor.sockets import CannotListen, listen

logger = logging.getLogger("moorage.supervisor")


def serve(settings: Settings) -> int:
    """Run a server until a signal ends it. Returns its exit status: 0, or 1 when a part of it cannot start.

    Raises:
        CannotStart: nothing was started; the message is one line for the user.
    """
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    data = DataDirectory(settings.data_dir)
    os.umask(0o077)
    separated = models_are_separated(settings)
    with held(data, for_other_users=separated) as lock:
        if separated:
            _require_reach(data)
        try:
            listeners = listen(settings.host, settings.port, settings.gateway_workers)
        except CannotListen as error:
            raise CannotStart(str(error)) from error
        settings = settings.model_copy(update={"port": listeners[0].getsockname()[1]})
        _log_configuration(settings)
        try:
            credentials = prepare_data(settings, data)
        except CannotStart:
            for listener in listeners:
                listener.close()
            raise
        if credentials.created:
            logger.info("made administrator %s and a token for it", credentials.user_name)
        drain, control, mlflow = stop_budgets(settings.drain_seconds)
        groups = [
            Group(gateway_specs(settings, [one.fileno() for one in listeners], credentials.workspace_id), drain),
            # The tables get what the gateways wrote last: those have stopped by then.
            Group(
                [
                    replace(control_spec(settings), descriptors=(lock,)),
                    tables_spec(settings, credentials.workspace_id),
                    *([guardrails_spec(settings, data)] if guardrails_installed() else []),
                ],
                control,
            ),
        ]
        if settings.mlflow_uri is None:
            groups.append(Group([mlflow_spec(settings, data)], mlflow))
        plan = Plan(groups, data.logs, data.replicas, listeners)

        async def run() -> int:
            async def probe() -> Health:
                return await fetch_health(settings.local_url)

            return await Supervisor(plan, probe, lambda: _announce(settings, credentials.sign_in_code)).run()

        return asyncio.run(run())


def _log_configuration(settings: Settings) -> None:
    logger.info("Moorage %s with data in %s", __version__, settings.data_dir)
    for name, value in sorted(settings.masked().items()):
        logger.info("setting %s = %s", name, value)
    if not models_are_separated(settings):
        logger.warning(NOT_SEPARATED)
    if not _is_loopback(settings.host):
        logger.warning(
            "listening on %s: tokens and data travel as plain HTTP; put a TLS proxy in front of it",
            settings.host,
        )


def _require_reach(data: DataDirectory) -> None:
    """
    Raises:
        CannotStart: models cannot run as users of their own.
    """
    try:
        require_capabilities()
        covers(Path(sys.executable), places(data))
    except OutOfReach as error:
        raise CannotStart(str(error)) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _announce(settings: Settings, sign_in_code: str) -> None:
    print(f"Moorage is ready at {settings.base_url}", flush=True)
    command = f"moorage env --data-dir {shlex.quote(str(settings.data_dir))}"
    print(f'Connect with: eval "$({command})"', file=sys.stderr, flush=True)
    url = f"{settings.base_url}/login?code={sign_in_code}"
    print(f"Sign a browser in, once, within 10 minutes: {url}", file=sys.stderr, flush=True)
