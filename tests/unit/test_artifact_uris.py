"""Names of artifacts: MLflow's, Databricks clients', the Files API's; and their translation in JSON on its way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.artifact_uris import artifact_path, databricks_uri, mlflow_uri, path_of_file
from moorage.api.errors import PermissionDenied
from moorage.gateway.artifact_uris import (
    Answer,
    creates_experiment,
    files_read,
    from_databricks_client,
    require_own_place,
    require_unregistered,
    to_databricks,
    to_mlflow,
)

PAIRS = [
    ("mlflow-artifacts:/7", "dbfs:/databricks/mlflow-tracking/7"),
    ("mlflow-artifacts:/7/abc/artifacts", "dbfs:/databricks/mlflow-tracking/7/abc/artifacts"),
    ("mlflow-artifacts:/7/abc/artifacts/a b.txt", "dbfs:/databricks/mlflow-tracking/7/abc/artifacts/a b.txt"),
    ("mlflow-artifacts:/7/models/m-1/artifacts", "dbfs:/databricks/mlflow-tracking/7/logged_models/m-1/artifacts"),
    ("mlflow-artifacts:/7/traces/tr-1/artifacts", "dbfs:/databricks/mlflow-tracking/7/tr-1/artifacts"),
    ("mlflow-artifacts:/my/place/abc/artifacts", "dbfs:/databricks/mlflow-tracking/my/place/abc/artifacts"),
]
FILES = [
    ("7/Runs/abc", "7/abc"),
    ("7/Runs/abc/artifacts/model/MLmodel", "7/abc/artifacts/model/MLmodel"),
    ("7/LoggedModels/m-1/artifacts/MLmodel", "7/models/m-1/artifacts/MLmodel"),
    ("my/Runs/place/abc/artifacts", "my/place/abc/artifacts"),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_one_place_has_a_name_for_each_kind_of_client(ours: str, theirs: str) -> None:
    assert databricks_uri(ours) == theirs
    assert mlflow_uri(theirs) == ours
    assert artifact_path(ours) == artifact_path(theirs) == ours.removeprefix("mlflow-artifacts:/")


@pytest.mark.parametrize("uri", ["s3://bucket/7", "dbfs:/FileStore/x", "runs:/abc/model", "models:/m/1", ""])
def test_other_places_keep_their_names(uri: str) -> None:
    assert databricks_uri(uri) == mlflow_uri(uri) == uri
    assert artifact_path(uri) is None


@pytest.mark.parametrize(("file", "path"), FILES)
def test_files_of_runs_and_logged_models_are_in_the_store(file: str, path: str) -> None:
    assert path_of_file(f"/WorkspaceInternal/Mlflow/Artifacts/{file}") == path


@pytest.mark.parametrize("file", ["/Volumes/a/b/c", "/WorkspaceInternal/Mlflow/Artifacts/7/abc", "/Models/a/b/c/1/x"])
def test_other_files_are_not(file: str) -> None:
    assert path_of_file(file) is None


RUN, TOLD = (
    {"run": {"info": {"artifact_uri": uri, "run_name": "mlflow-artifacts: a name"}, "data": {"n": [1, 2.5]}}}
    for uri in PAIRS[1]
)


def test_an_answer_tells_a_databricks_client_its_own_uris_and_a_request_mlflow_its() -> None:
    assert json.loads(to_databricks(json.dumps(RUN).encode())) == TOLD
    assert json.loads(to_mlflow(json.dumps(TOLD).encode(), "/api/2.0/mlflow/runs/update")) == RUN


RUN_ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ("models:/m-1", {"source": "models:/m-1", "model_id": "m-1"}),
        (PAIRS[3][1] + "/x", {"source": PAIRS[3][0] + "/x", "model_id": "m-1"}),
        (f"runs:/{RUN_ID}/model", {"source": f"runs:/{RUN_ID}/model", "run_id": RUN_ID}),
        (
            f"dbfs:/databricks/mlflow-tracking/7/{RUN_ID}/artifacts/model",
            {"source": f"mlflow-artifacts:/7/{RUN_ID}/artifacts/model", "run_id": RUN_ID},
        ),
        ("models:/other/1", {"source": "models:/other/1"}),
        ("s3://bucket/x", {"source": "s3://bucket/x"}),
        (7, {"source": 7}),
    ],
)
def test_a_version_to_be_made_names_what_its_source_is_in(source: object, sent: dict[str, object]) -> None:
    path = "/api/2.0/mlflow/model-versions/create"
    assert json.loads(to_mlflow(json.dumps({"name": "m", "source": source}).encode(), path)) == {"name": "m", **sent}
    of_run = {"name": "m", "source": "models:/m-1", "run_id": RUN_ID}
    assert json.loads(to_mlflow(json.dumps(of_run).encode(), path)) == {**of_run, "model_id": "m-1"}
    named = json.dumps({"name": "m", "source": f"runs:/{RUN_ID}/x", "run_id": "r"}).encode()
    assert to_mlflow(named, path) == named
    assert to_mlflow(b"not json", path) == b"not json"


@given(st.data())
def test_an_answer_is_the_same_however_it_is_cut(data: st.DataObject) -> None:
    uris = [one for pair in PAIRS for one in pair]
    text = st.sampled_from([*uris, 'a "quoted" one', '"mlflow-artifacts:/1/x"', ""])
    document = json.dumps(data.draw(st.lists(text | st.text(max_size=5)))).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(document)), max_size=8)))
    pieces = [document[a:b] for a, b in zip([0, *cuts], [*cuts, len(document)], strict=True)]
    answer = Answer()
    assert b"".join([*map(answer.feed, pieces), answer.end()]) == to_databricks(document)


@pytest.mark.parametrize(
    ("agent", "path", "is_one"),
    [
        ("databricks-sdk-py/0.156.0 python/3.11 os/linux auth/pat", "/api/2.0/mlflow/runs/get", True),
        ("databricks-sdk-py/0.156.0", "/api/3.0/mlflow/traces", True),
        ("databricks-sdk-py/0.156.0", "/api/2.0/mlflow-artifacts/artifacts/7", False),
        ("databricks-sdk-py/0.156.0", "/api/2.0/serving-endpoints", False),
        ("mlflow-python-client/3.17.2", "/api/2.0/mlflow/runs/get", False),
    ],
)
def test_a_databricks_client_is_known_by_its_sdk(agent: str, path: str, is_one: bool) -> None:
    assert from_databricks_client([(b"user-agent", agent.encode())], path) is is_one


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "artifacts/registered-models/models/m-1/artifacts/x",
        "artifacts//registered%2Dmodels/x",
        "artifacts/a%252f../registered-models",
        "/artifacts/./registered-models/x",
        "mpu/create/registered-models/x",
    ],
)
def test_files_of_registered_versions_are_read_and_not_changed(method: str, path: str) -> None:
    with pytest.raises(PermissionDenied, match="registered"):
        require_unregistered(method, f"/api/2.0/mlflow-artifacts/{path}")
    with pytest.raises(PermissionDenied, match="registered"):
        require_unregistered(method, f"/mlflow//api//2.0/mlflow-artifacts/{path}")
    require_unregistered("GET", f"/api/2.0/mlflow-artifacts/{path}")
    require_unregistered(method, "/api/2.0/mlflow-artifacts/artifacts/7/run/artifacts/registered-models/x")


@pytest.mark.parametrize(
    "location",
    [
        "mlflow-artifacts:/registered-models",
        "mlflow-artifacts:/a/../registered%2Dmodels/models/m-1/artifacts",
        "mlflow-artifacts://host/registered-models/x",
        "dbfs:/databricks/mlflow-tracking/registered-models/x",
        "MLFLOW-ARTIFACTS:/registered-models/x",
    ],
)
@pytest.mark.parametrize("field", ["artifact_location", "artifactLocation"])
def test_no_experiment_has_its_runs_among_the_files_of_registered_versions(location: str, field: str) -> None:
    document = json.dumps({"name": "x", field: location, "other": float("nan")})
    for body in (document.encode(), json.dumps(document).encode(), document.encode("utf-16")):
        with pytest.raises(PermissionDenied, match="registered-models"):
            require_own_place(body, admin=True)


@pytest.mark.parametrize(
    "location", ["/etc", "etc", "file:///etc", "FILE:/etc", "http://host/x", "https://host", "ftp://h/x"]
)
def test_where_the_server_would_write_is_for_administrators_to_say(location: str) -> None:
    body = json.dumps({"name": "x", "artifact_location": location}).encode()
    require_own_place(body, admin=True)
    with pytest.raises(PermissionDenied, match="administrators"):
        require_own_place(body, admin=False)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"not json", b'{"name": "x"}', b'{"artifact_location": 7}', b'{"artifact_location": "s3://b/x"}'],
)
def test_other_experiments_pass_and_mlflow_says_what_is_wrong_with_them(body: bytes) -> None:
    require_own_place(body, admin=False)


@pytest.mark.parametrize(
    ("path", "query", "files"),
    [
        ("/api/2.0/mlflow-artifacts/artifacts/registered-models/models/m-1", "", "registered-models/models/m-1"),
        ("/mlflow//ajax-api/2.0/mlflow-artifacts/artifacts/a%2f..%2fregistered-models/x", "", "registered-models/x"),
        ("/api/2.0/mlflow-artifacts/presigned/registered-models/x", "", "registered-models/x"),
        ("/api/2.0/mlflow-artifacts/artifacts", "path=registered%252Dmodels/models", "registered-models/models"),
        ("/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/directories", "", "logged-models/m-1"),
        ("/api/2.0/mlflow-artifacts/artifacts/7/run/artifacts/registered-models/x", "", None),
        ("/api/2.0/mlflow-artifacts/artifacts", "path=7", None),
        ("/api/2.0/mlflow-artifacts/artifacts", "", None),
        ("/api/2.0/mlflow/runs/get", "path=registered-models", None),
    ],
)
def test_which_requests_may_read_files_of_registered_versions(path: str, query: str, files: str | None) -> None:
    assert files_read("GET", path, query) == files
    assert files_read("PUT", path, query) is None


def test_a_string_longer_than_any_uri_passes_as_it_is_and_takes_no_time() -> None:
    document = json.dumps(["mlflow-artifacts:/" + "a" * 1_000_000, PAIRS[1][0]]).encode()
    answer = Answer()
    pieces = [document[at : at + 1000] for at in range(0, len(document), 1000)]
    held = max(len(answer.feed(piece)) for piece in pieces)
    assert held < 20_000
    whole = Answer()
    assert json.loads(whole.feed(document) + whole.end())[1] == PAIRS[1][1]


@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/mlflow/experiments/create",
        "/ajax-api/2.0/mlflow//experiments/./create/",
        "/mlflow//api/2.0/mlflow/experiments/create",
    ],
)
def test_an_experiment_is_made_by_whatever_mlflow_takes_for_it(path: str) -> None:
    assert creates_experiment("POST", path)
    assert not creates_experiment("GET", path)
    assert not creates_experiment("POST", "/api/2.0/mlflow/experiments/update")
