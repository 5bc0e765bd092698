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
    """The layout under one root, which `create` makes."""

    root: Path

    def create(self, *, for_other_users: bool = False) -> None:
        """Make the directory tree, and close what is in it to other users.

        `for_other_users`: models run as such. They may pass through, and read what they are given in there by
        name; they can list nothing.

        Raises:
            DataDirectoryError: the root cannot be made, or is not a directory.
        """
        passable = 0o711 if for_other_users else 0o700
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
            owner = self.run.lstat()
            if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.getuid() or owner.st_mode & 0o022:
                raise DataDirectoryError(f"{self.run} belongs to somebody else or is open to others")
            for folder in (self.root, self.run, *self._passable):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(passable)
            for folder in (self.mlflow, self.spool, self.tables, self._server_run):
                folder.mkdir(mode=0o700, exist_ok=True)
            for folder in (self.root, self.run, self.logs):
                self._close_contents(folder)
        except OSError as error:
            raise DataDirectoryError(f"cannot use {self.root} as data directory: {error.strerror}") from error

    def _close_contents(self, folder: Path) -> None:
        """What an earlier version or another program left open in there."""
        for path in set(folder.iterdir()) - {self.run, *self._passable}:
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                path.chmod(stat.S_IMODE(mode) & 0o700)

    @property
    def _passable(self) -> tuple[Path, ...]:
        """Where models have something that is theirs, beside the root and `run`."""
        return (self.environments, self.models, self.deployments, self.logs, self.replicas, self.templates)

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
    def new_encryption_key(self) -> Path:
        """The key that is to replace it, only while a rotation is under way."""
        return self.root / "encryption.key.new"

    @property
    def oauth_signing_key(self) -> Path:
        return self.root / "oauth-signing-key.pem"

    @property
    def database(self) -> Path:
        return self.root / "moorage.db"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def spool(self) -> Path:
        """What is to go into the tables: segments of gateways and the control plane."""
        return self.root / "spool"

    @property
    def tables(self) -> Path:
        """The Delta tables: `CATALOG/SCHEMA/TABLE`."""
        return self.root / "tables"

    @property
    def tables_status(self) -> Path:
        """How the delivery to each table does, as a `TablesReport`."""
        return self.spool / "tables.json"

    @property
    def environments(self) -> Path:
        """One folder a built environment, named by its key."""
        return self.root / "environments"

    @property
    def models(self) -> Path:
        """Downloaded model artifacts, one folder a model version."""
        return self.root / "models"

    @property
    def weights(self) -> Path:
        """Downloaded weights of models that engines run."""
        return self.root / "weights"

    @property
    def catalogue(self) -> Path:
        """Models that engines run, beside those of the default catalogue."""
        return self.root / "catalogue.yaml"

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
        return self._server_run / "control.sock"

    @property
    def mlflow_socket(self) -> Path:
        return self._server_run / "mlflow.sock"

    @property
    def guardrails_socket(self) -> Path:
        return self._server_run / "guardrails.sock"

    @property
    def snapshot(self) -> Path:
        """The newest routing snapshot, for a gateway that starts while the control plane is away."""
        return self._server_run / "snapshot.json"

    @property
    def service_token(self) -> Path:
        """The token with which the control plane calls its own MLflow API; renewed at every start."""
        return self._server_run / "service.token"

    @property
    def _server_run(self) -> Path:
        """What of `run` concerns nobody but the server."""
        return self.run / "server"

    @property
    def templates(self) -> Path:
        """The sockets of templates, in a folder for each user that they run as."""
        return self.run / "templates"

    def template_socket(self, environment_key: str, uid: int) -> Path:
        return self.templates / str(uid) / environment_key[:16]

    def replica_socket(self, replica_id: str) -> Path:
        return self.replica(replica_id) / "s"

    @property
    def replicas(self) -> Path:
        return self.run / "replicas"

    def replica(self, replica_id: str) -> Path:
        """A live replica's own folder: `status.json`, and the working directory of the model."""
        return self.replicas / replica_id
