"""One real gateway worker without a control plane: it serves from a routing snapshot that the test has written."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx

from moorage.api.external_models import ExternalTask, Provider
from moorage.api.routing import (
    Availability,
    EndpointRoute,
    ExternalRoute,
    Principal,
    RoutingSnapshot,
    ServedRoute,
    credential_purpose,
)
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption, key_text, new_key
from moorage.settings import Settings

TOKEN = "a-token-of-a-test"
ADMIN = Principal(id="1", user_name="admin@localhost", admin=True)


class LoneGateway:
    """Its `url`, its data directory, and an HTTP client that has the token."""

    def __init__(self, url: str, data: DataDirectory, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.data = data
        self.process = process
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)

    def invoke(self, endpoint: str, body: object, **headers: str) -> httpx.Response:
        return self.http.post(f"/serving-endpoints/{endpoint}/invocations", json=body, headers=headers)



class Workplace:
    """A data directory with its key, in which routes are made."""

    def __init__(self, folder: Path) -> None:
        self.data = DataDirectory(folder)
        self.data.create()
        key = new_key()
        self.data.encryption_key.write_text(key_text(key))
        self.encryption = Encryption(key)

    def served(
        self,
        endpoint_id: str,
        name: str,
        provider: Provider,
        options: Mapping[str, str],
        credentials: Mapping[str, str],
        *,
        model: str = "a-model",
        traffic: int = 100,
    ) -> ServedRoute:
        """A provider's model as the control plane would tell of it."""
        purpose = credential_purpose(endpoint_id)
        external = ExternalRoute(
            provider=provider,
            model=model,
            options=dict(options),
            credentials={field: self.encryption.seal(purpose, text) for field, text in credentials.items()},
        )
        return ServedRoute(
            name=name, traffic_percentage=traffic, external=external, id=f"deployment-of-{name}", entity=model
        )

    @contextmanager
    def running(
        self,
        routes: Iterable[EndpointRoute],
        tokens: Mapping[str, Principal] | None = None,
        errors: Path | None = None,
        **settings: object,
    ) -> Iterator[LoneGateway]:
        """A gateway worker that serves these.

        `tokens` are known beside the administrator's; `errors` is a file for what it says on its standard error.
        """
        digests = {
            hashlib.sha256(token.encode()).hexdigest(): principal
            for token, principal in {TOKEN: ADMIN, **(tokens or {})}.items()
        }
        snapshot = RoutingSnapshot(endpoints={one.name: one for one in routes}, tokens=digests)
        self.data.snapshot.write_text(snapshot.model_dump_json())
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        made = Settings(data_dir=self.data.root, **settings)  # type: ignore[arg-type]
        with errors.open("wb") if errors is not None else nullcontext() as complaints:
            process = subprocess.Popen(
                [sys.executable, "-m", "moorage.gateway", "--workspace-id", "4711", "--fd", str(listener.fileno())],
                env={**os.environ, **made.to_environment()},
                pass_fds=[listener.fileno()],
                stderr=complaints,
            )
        listener.close()
        gateway = LoneGateway(url, self.data, process)
        try:
            _wait_until_up(gateway)
            yield gateway
        finally:
            gateway.http.close()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def external_route(
    name: str, task: ExternalTask, served: Iterable[ServedRoute], **fields: object
) -> EndpointRoute:
    """The route of an endpoint with these models; its id is its name."""
    return EndpointRoute(
        name=name,
        id=name,
        availability=Availability.SERVING,
        served=tuple(served),
        task=task,
        config_version=1,
        **fields,  # type: ignore[arg-type]
    )


def _wait_until_up(gateway: LoneGateway) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            gateway.http.get("/serving-endpoints/models")
            return
        except httpx.TransportError:
            assert gateway.process.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.05)
