"""The credential that goes to an external MLflow server is the one that MLflow's own client would send."""

from __future__ import annotations

import pytest
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from moorage.api.mlflow_credential import authorization

TOKEN = {"MLFLOW_TRACKING_TOKEN": "t"}
PASSWORD = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "pass:wörd"}


@pytest.mark.parametrize(
    "environ", [{}, TOKEN, PASSWORD, {**TOKEN, **PASSWORD}, {**TOKEN, "MLFLOW_TRACKING_USERNAME": "ann"}]
)
def test_it_is_that_of_mlflows_client(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TOKEN, *PASSWORD):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    sent: dict[str, str] = {}

    def asked(*_args: object, headers: dict[str, str], **_options: object) -> None:
        sent.update(headers)

    monkeypatch.setattr("mlflow.utils.rest_utils._get_http_response_with_retries", asked)
    http_request(get_default_host_creds("http://mlflow.example.com"), "/api", "GET")
    theirs = {name.lower(): value for name, value in sent.items() if name.lower() == "authorization"}
    assert authorization(environ) == theirs
