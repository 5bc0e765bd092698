"""Addresses to read and write files of runs, logged models and traces, as MLflow's client asks for them."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.api.files import (
    ArtifactCredential,
    LoggedModelCredential,
    LoggedModelCredentials,
    LoggedModelCredentialsRequest,
    RunCredentials,
    RunCredentialsRequest,
    TraceCredentials,
)
from moorage.api.routing import Principal
from moorage.control.files.places import Places
from moorage.control.files.signing import Action, Grant, SignedUrls

_TRACE_DATA = "traces.json"


@dataclass(frozen=True, slots=True)
class ArtifactCredentials:
    """Every method raises as `Places.of_run`. Whether the files are there is not asked."""

    places: Places
    urls: SignedUrls

    def of_run(
        self, caller: Principal, base_url: str, request: RunCredentialsRequest, *, write: bool
    ) -> RunCredentials:
        folder = self.places.run_folder(request.run_id)
        return RunCredentials(
            credential_infos=tuple(
                self._credential(caller, base_url, folder, path, write).model_copy(update={"run_id": request.run_id})
                for path in request.path
            )
        )

    def of_logged_model(
        self, caller: Principal, base_url: str, model_id: str, request: LoggedModelCredentialsRequest, *, write: bool
    ) -> LoggedModelCredentials:
        folder = self.places.logged_model_folder(model_id)
        return LoggedModelCredentials(
            credentials=tuple(
                LoggedModelCredential(
                    model_id=model_id, credential_info=self._credential(caller, base_url, folder, path, write)
                )
                for path in request.paths
            )
        )

    def of_trace(
        self, caller: Principal, base_url: str, request_id: str, path: str | None, *, write: bool
    ) -> TraceCredentials:
        """Without a path it is the trace's data."""
        folder = self.places.trace_folder(request_id)
        credential = self._credential(caller, base_url, folder, path or _TRACE_DATA, write)
        return TraceCredentials(credential_info=credential)

    def _credential(
        self, caller: Principal, base_url: str, folder: str, path: str, write: bool
    ) -> ArtifactCredential:
        grant = Grant(
            action=Action.WRITE if write else Action.READ,
            user=caller.user_name,
            expires=self.urls.expiry(),
            path=self.places.artifact(caller, folder, path, write=write),
        )
        return ArtifactCredential(path=path, signed_uri=self.urls.sign(base_url, grant))
