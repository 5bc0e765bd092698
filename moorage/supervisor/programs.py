"""The programs `moorage serve` runs, and what each may see of the server's environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from moorage.datadir import DataDirectory
from moorage.settings import ENCRYPTION_KEY_VARIABLE, Settings
from moorage.supervisor.child import ChildSpec

# A client's configuration in the shell that starts the server; inside it would send us to another server.
_CLIENT_PREFIXES = ("DATABRICKS_", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_URI")
# What builds of environments read, with credentials of package indexes in it.
_BUILD_PREFIXES = ("UV_", "PIP_", "MOORAGE_ENV_")
# The control plane's alone: it builds environments, and sends notifications.
_CONTROL_PREFIXES = (*_BUILD_PREFIXES, "MOORAGE_SMTP_", "MOORAGE_NOTIFICATION_", "MOORAGE_TABLES_")
# Which of the settings the writer of the tables goes by.
_TABLES_SETTINGS = ("MOORAGE_DATA_DIR", "MOORAGE_LOG_LEVEL", "MOORAGE_TABLES_", "MOORAGE_PAYLOAD_", "MOORAGE_SPOOL_")
# How the clouds' object stores are opened, by the names that deltalake reads.
_STORAGE_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")
# How control plane and gateway sign in at an MLflow server that is not the embedded one.
_MLFLOW_CREDENTIALS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# OpenTelemetry's own variables, which may hold a collector's credentials: only gateways export.
_TELEMETRY_PREFIX = "OTEL_"
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "_KEY", "APIKEY")


def control_spec(settings: Settings, environ: Mapping[str, str] | None = None) -> ChildSpec:
    """The control plane. It alone decrypts secrets and builds environments, so it keeps what those need."""
    environ = os.environ if environ is None else environ
    visible = {**_inherited(environ), **_mlflow_credentials(settings, environ), **settings.to_environment()}
    return ChildSpec("control", (sys.executable, "-m", "moorage.control"), visible)


def gateway_specs(
    settings: Settings, descriptors: Sequence[int], workspace_id: str, environ: Mapping[str, str] | None = None
) -> list[ChildSpec]:
    """One gateway worker a descriptor of a listening socket, without secrets or build settings."""
    environ = os.environ if environ is None else environ
    exporter = {k: v for k, v in environ.items() if k.startswith(_TELEMETRY_PREFIX)}
    inherited = {**_without_secrets(_inherited(environ)), **exporter, **_mlflow_credentials(settings, environ)}
    own = {k: v for k, v in settings.to_environment().items() if not k.startswith(_CONTROL_PREFIXES)}
    # Credentials of providers come to gateways sealed.
    own.update({k: environ[k] for k in (ENCRYPTION_KEY_VARIABLE,) if k in environ})
    command = (sys.executable, "-m", "moorage.gateway", "--workspace-id", workspace_id)
    return [
        ChildSpec(
            f"gateway-{index}",
            (*command, "--fd", str(descriptor), "--worker", str(index)),
            {**inherited, **own},
            (descriptor,),
        )
        for index, descriptor in enumerate(descriptors)
    ]


def tables_spec(settings: Settings, workspace_id: str, environ: Mapping[str, str] | None = None) -> ChildSpec:
    """The writer of the tables. It sees credentials of object stores only where the tables are in one."""
    environ = os.environ if environ is None else environ
    inherited = _without_secrets(_inherited(environ))
    visible = {k: v for k, v in inherited.items() if not k.startswith(("MOORAGE_", *_STORAGE_PREFIXES))}
    if settings.tables_uri is not None:
        visible.update((k, v) for k, v in environ.items() if k.startswith(_STORAGE_PREFIXES))
    visible.update((k, v) for k, v in settings.to_environment().items() if k.startswith(_TABLES_SETTINGS))
    command = (sys.executable, "-m", "moorage.tables", "--workspace-id", workspace_id)
    return ChildSpec("tables", command, visible)


def guardrails_spec(settings: Settings, data: DataDirectory, environ: Mapping[str, str] | None = None) -> ChildSpec:
    """The detectors of guardrails. They see texts of all clients and no secret: what they go by is in the command."""
    inherited = _without_secrets(_inherited(os.environ if environ is None else environ))
    command = [sys.executable, "-m", "moorage.guardrails", "--socket", str(data.guardrails_socket)]
    command += ["--log-level", settings.log_level, "--judge-taxonomy", settings.guardrails_judge_taxonomy]
    judge = settings.guardrails_judge_endpoint
    if judge is not None and "://" not in judge:
        judge = f"{settings.local_url}/serving-endpoints/{judge}/invocations"
    options = {
        "--model-dir": settings.guardrails_model_dir,
        "--judge-url": judge,
        "--judge-model": settings.guardrails_judge_model,
        "--judge-token-file": settings.guardrails_judge_token_file,
    }
    command += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    hidden = ("MOORAGE_", *_STORAGE_PREFIXES)
    return ChildSpec("guardrails", tuple(command), {k: v for k, v in inherited.items() if not k.startswith(hidden)})


def mlflow_spec(settings: Settings, data: DataDirectory, environ: Mapping[str, str] | None = None) -> ChildSpec:
    """The embedded MLflow server, which gets nothing of ours but its folder and its socket."""
    inherited = _without_secrets(_inherited(os.environ if environ is None else environ))
    command = [sys.executable, "-m", "moorage.supervisor.mlflow_server", str(data.mlflow)]
    command += [str(data.mlflow_socket), "--workers", str(settings.mlflow_workers)]
    for origin in dict.fromkeys((settings.base_url, settings.local_url)):
        command += ["--origin", origin]
    visible = {k: v for k, v in inherited.items() if not k.startswith("MOORAGE_")}
    # Its warnings are about its own code, nothing that who runs this server could act on.
    return ChildSpec("mlflow", tuple(command), {**visible, "PYTHONWARNINGS": "ignore"})


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in environ.items() if not k.startswith((*_CLIENT_PREFIXES, _TELEMETRY_PREFIX))}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _mlflow_credentials(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    if settings.mlflow_uri is None:
        return {}
    return {name: environ[name] for name in _MLFLOW_CREDENTIALS if name in environ}


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        k: v
        for k, v in environ.items()
        if not k.startswith(_CONTROL_PREFIXES) and not any(word in k.upper() for word in _SECRET_WORDS)
    }
