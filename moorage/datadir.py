"""Where everything lies in the data directory. Paths only; nothing here opens a file but the directory itself."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SOCKET_PATH_LIMIT = 107  # bytes of sun_path on Linux, without the closing NUL
_LONGEST_SOCKET_NAME = 40


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The layout under one root. `create` makes it with mode 0700."""

    root: Path

    def create(self) -> None:
        """Make the directory tree.

        Raises:
            DataDirectoryError: the root cannot be made, or is not a directory.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for folder in (self.mlflow, self.environments, self.models, self.deployments, self.run):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(f"cannot use {self.root} as data directory: {error.strerror}") from error
        owner = self.run.stat()
        if owner.st_uid != os.getuid() or stat.S_IMODE(owner.st_mode) & 0o077:
            raise DataDirectoryError(f"{self.run} belongs to somebody else or is open to others")

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def admin_env(self) -> Path:
        return self.root / "admin.env"

    @property
    def encryption_key(self) -> Path:
        return self.root / "encryption.key"

    @property
    def database(self) -> Path:
        return self.root / "moorage.db"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def environments(self) -> Path:
        """One folder a built environment, named by its key."""
        return self.root / "environments"

    @property
    def models(self) -> Path:
        """Downloaded model artifacts, one folder a model version."""
        return self.root / "models"

    @property
    def deployments(self) -> Path:
        """Logs, one folder a deployment (a served entity of a configuration)."""
        return self.root / "deployments"

    def deployment(self, deployment_id: str) -> Path:
        return self.deployments / deployment_id

    def build_log(self, deployment_id: str) -> Path:
        return self.deployment(deployment_id) / "build.log"

    def replica_log(self, deployment_id: str, replica_id: str) -> Path:
        return self.deployment(deployment_id) / f"{replica_id}.log"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets and the state of live processes. A short path elsewhere when the root's is too long for one."""
        folder = self.root / "run"
        if len(os.fsencode(folder)) + 1 + _LONGEST_SOCKET_NAME <= _SOCKET_PATH_LIMIT:
            return folder
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"moorage-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def mlflow_socket(self) -> Path:
        return self.run / "mlflow.sock"

    @property
    def snapshot(self) -> Path:
        """The newest routing snapshot, for a gateway that starts while the control plane is away."""
        return self.run / "snapshot.json"

    @property
    def service_token(self) -> Path:
        """The token with which the control plane calls its own MLflow API; renewed at every start."""
        return self.run / "service.token"

    def template_socket(self, environment_key: str) -> Path:
        return self.run / f"t-{environment_key[:16]}.sock"

    def replica_socket(self, replica_id: str) -> Path:
        return self.run / f"r-{replica_id}.sock"

    @property
    def replicas(self) -> Path:
        return self.run / "replicas"

    def replica(self, replica_id: str) -> Path:
        """A live replica's own folder: `status.json`, and the working directory of the model."""
        return self.replicas / replica_id
