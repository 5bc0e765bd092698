"""Prompts of Unity Catalog: MLflow's client over HTTP, beside one that asks MLflow itself for the same prompts."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from mlflow import MlflowClient
from mlflow.entities import Prompt
from mlflow.entities.model_registry import PromptVersion
from mlflow.exceptions import MlflowException
from mlflow.prompt.registry_utils import PromptCache
from mlflow.protos.unity_catalog_prompt_service_pb2 import UnityCatalogPromptService
from mlflow.store._unity_catalog.registry.rest_store import UcModelRegistryStore
from mlflow.utils.rest_utils import extract_all_api_info_for_service
from mlflow_in_process import mlflow_api, mlflow_app
from werkzeug.serving import make_server

from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.control.store import permissions
from moorage.control.store.permissions import ObjectType

ROOT = "/api/2.0/mlflow/unity-catalog"
CALLERS = {"Bearer ann": ANN, "Bearer bob": BOB, "Bearer admin": ADMIN}
CHAT = [{"role": "system", "content": "You are {{style}}."}, {"role": "user", "content": 'Say "☃" \\ {{q}}'}]
TEXT = 'Dear {{name}},\n"quoted" \\ ☃'
FORMAT = {"type": "object", "properties": {"answer": {"type": "string"}}}
CONFIG = {"model_name": "small", "temperature": 0.5}
NO_TEMPLATES = ("no JSON", "7", "{}", "[]", '["x"]', '[{"content": "x"}]', '"\\u0000"', '"\\ud800"', "[" * 99_999)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path, mlflow=mlflow_api()) as plane:
        yield plane


@pytest.fixture
def schema() -> str:
    """Of a catalog that no other test uses: all of them share one MLflow."""
    return f"c{uuid.uuid4().hex[:8]}.some_schema"


def behind_a_port(plane: ControlPlane) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that sends requests where a gateway does: Unity Catalog's to the control plane."""
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(("/api/2.0/mlflow/", "/api/3.0/mlflow/")) and not path.startswith(ROOT):
            return mlflow_app(environ, start_response)
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        caller = CALLERS.get(environ.get("HTTP_AUTHORIZATION", ""))
        url = f"{quote(path)}?{environ['QUERY_STRING']}"
        answer = plane.request(environ["REQUEST_METHOD"], url, caller, content=content)
        start_response(f"{answer.status_code} {answer.reason_phrase}", [("content-type", "application/json")])
        return [answer.content]

    return application


@pytest.fixture
def url(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where MLflow's client finds the workspace, as ANN."""
    server = make_server("127.0.0.1", 0, behind_a_port(plane), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("DATABRICKS_HOST", url)
    monkeypatch.setenv("DATABRICKS_TOKEN", "ann")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS", "0")
    # Links of stores that are no REST stores go to the tracking server that the environment names.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    PromptCache.get_instance().clear()
    yield url
    for one in threading.enumerate():
        if one.name.startswith("link_prompt"):  # the client tags loaded prompts behind the caller's back
            one.join(20)
    server.shutdown()
    thread.join(20)
    server.server_close()


@pytest.fixture
def client(url: str) -> MlflowClient:
    return MlflowClient(tracking_uri="databricks", registry_uri="databricks-uc")


@pytest.fixture
def plain(url: str) -> MlflowClient:
    """MLflow's client for its own server."""
    return MlflowClient(tracking_uri=url, registry_uri=url)


def ask(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, /, **body: Any) -> Any:
    return plane.request(method, f"{ROOT}{path}", caller, json=body)


def refused(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["error_code"] == code
    return str(answer.json()["message"])


def make(plane: ControlPlane, name: str, *templates: str, caller: Principal = ANN) -> None:
    assert ask(plane, "POST", "/prompts", caller, name=name, prompt={"name": name}).status_code == 200
    for template in templates:
        version = {"template": json.dumps(template)}
        answer = ask(plane, "POST", f"/prompts/{name}/versions", caller, prompt_version=version)
        assert answer.status_code == 200, answer.text


def grant(plane: ControlPlane, name: str, who: Principal, level: ModelLevel) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, who.id, level)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(MlflowException) as raised:
        call()
    return str(raised.value.error_code)


def found(prompts: Iterable[Prompt]) -> list[str]:
    return [one.name for one in prompts]


def tags_of(prompt: Prompt | None) -> dict[str, str]:
    """Without those that the client sets of itself, when it gets to it: in which experiment it used the prompt."""
    assert prompt is not None
    return {key: value for key, value in prompt.tags.items() if not key.startswith("_mlflow")}


def test_the_client_of_unity_catalog_can_ask_for_nothing_that_there_is_not(plane: ControlPlane) -> None:
    asked = extract_all_api_info_for_service(UnityCatalogPromptService, "/api/2.0").values()
    served = plane.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    ways = {(method.lower(), path) for each in asked for path, method in each}
    assert len(ways) == 20
    assert ways <= {(method, path) for path, methods in served.items() for method in methods}


@pytest.mark.parametrize(("template", "kind"), [(TEXT, "text"), (CHAT, "chat")], ids=["text", "chat"])
def test_what_unity_catalogs_client_registers_mlflows_own_reads(
    client: MlflowClient, plain: MlflowClient, schema: str, template: Any, kind: str
) -> None:
    name = f"{schema}.greeting"
    made = client.register_prompt(
        name, template, commit_message="first", tags={"team": "x"}, response_format=FORMAT, model_config=CONFIG
    )
    client.set_prompt_alias(name, "production", 1)

    read = plain.load_prompt(name, version=1)
    for one in (made, read):
        assert (one.name, one.version, one.template) == (name, 1, template)
        assert (one.commit_message, one.tags) == ("first", {"team": "x"})
        assert (one.response_format, one.model_config) == (FORMAT, CONFIG)
    assert read.aliases == ["production"]
    assert plain.load_prompt(f"prompts:/{name}@production").version == 1
    assert tags_of(plain.get_prompt(name)) == {"team": "x"}
    assert plain.get_prompt(name).description == "first"
    stored = mlflow_api().call("GET", "model-versions/get", query={"name": name, "version": "1"})["model_version"]
    assert stored["source"] == "dummy-source"
    tags = {one["key"]: one["value"] for one in stored["tags"]}
    assert (tags["mlflow.prompt.is_prompt"], tags["_mlflow_prompt_type"]) == ("true", kind)


@pytest.mark.parametrize("template", [TEXT, CHAT], ids=["text", "chat"])
def test_what_mlflows_own_client_registers_unity_catalogs_reads(
    client: MlflowClient, plain: MlflowClient, schema: str, template: Any
) -> None:
    name = f"{schema}.greeting"
    plain.register_prompt(
        name, template, commit_message="first", tags={"team": "x"}, response_format=FORMAT, model_config=CONFIG
    )
    plain.set_prompt_alias(name, "production", 1)

    for read in (client.load_prompt(name, version=1), client.load_prompt(f"prompts:/{name}@production")):
        assert (read.name, read.version, read.template) == (name, 1, template)
        assert (read.commit_message, read.tags, read.aliases) == ("first", {"team": "x"}, ["production"])
        assert (read.response_format, read.model_config) == (FORMAT, CONFIG)
    assert client.get_prompt(name).description == "first"
    assert tags_of(client.get_prompt(name)) == {"team": "x"}


def test_a_prompt_registered_again_has_another_version(client: MlflowClient, schema: str) -> None:
    name = f"{schema}.p"
    assert [client.register_prompt(name, f"version {n}").version for n in (1, 2, 3)] == [1, 2, 3]
    assert client.load_prompt(name).template == "version 3"
    assert [one.template for one in client.search_prompt_versions(name)] == ["version 3", "version 2", "version 1"]


def test_tags_are_set_and_deleted(client: MlflowClient, plain: MlflowClient, schema: str) -> None:
    name = f"{schema}.p"
    client.register_prompt(name, "one", tags={"a": "1"})
    client.set_prompt_tag(name, "b/with slash", "2")
    client.set_prompt_tag(name, "a", "3")
    client.set_prompt_version_tag(name, 1, "c/d", "4")
    client.set_prompt_version_tag(name, 1, "empty", "")
    assert tags_of(client.get_prompt(name)) == tags_of(plain.get_prompt(name)) == {"a": "3", "b/with slash": "2"}
    expected = {"a": "1", "c/d": "4", "empty": ""}
    assert client.get_prompt_version(name, 1).tags == plain.get_prompt_version(name, 1).tags == expected

    client.delete_prompt_tag(name, "b/with slash")
    client.delete_prompt_version_tag(name, 1, "c/d")
    assert tags_of(plain.get_prompt(name)) == {"a": "3"}
    assert plain.get_prompt_version(name, 1).tags == {"a": "1", "empty": ""}


def test_the_models_configuration_is_a_tag_that_may_be_changed(client: MlflowClient, schema: str) -> None:
    name = f"{schema}.p"
    client.register_prompt(name, "one", model_config=CONFIG)
    key = "_mlflow_prompt_model_config"
    client.set_prompt_version_tag(name, 1, key, json.dumps({"model_name": "large"}))
    assert client.get_prompt_version(name, 1).model_config == {"model_name": "large"}
    client.delete_prompt_version_tag(name, 1, key)
    assert client.get_prompt_version(name, 1).model_config is None


def test_aliases_name_versions(client: MlflowClient, plain: MlflowClient, schema: str) -> None:
    name = f"{schema}.p"
    for text in ("one", "two"):
        client.register_prompt(name, text)
    client.set_prompt_alias(name, "live", 1)
    assert client.get_prompt_version_by_alias(name, "live").template == "one"
    client.set_prompt_alias(name, "live", 2)
    assert plain.get_prompt_version_by_alias(name, "live").template == "two"
    assert [(one.version, one.aliases) for one in client.search_prompt_versions(name)] == [(2, ["live"]), (1, [])]
    client.delete_prompt_alias(name, "live")
    assert plain.get_prompt_version(name, 2).aliases == []
    assert client.load_prompt(f"prompts:/{name}@live", allow_missing=True) is None
    assert code_of(lambda: client.load_prompt(f"prompts:/{name}@live")) == "NOT_FOUND"
    assert code_of(lambda: client.set_prompt_alias(name, "latest", 1)) == "INVALID_PARAMETER_VALUE"


def test_versions_and_then_their_prompt_are_deleted(
    client: MlflowClient, plain: MlflowClient, plane: ControlPlane, schema: str
) -> None:
    name = f"{schema}.p"
    for text in ("one", "two"):
        client.register_prompt(name, text)
    assert code_of(lambda: client.delete_prompt(name)) == "INVALID_PARAMETER_VALUE"
    assert "versions first" in refused(ask(plane, "DELETE", f"/prompts/{name}"), 400, "INVALID_PARAMETER_VALUE")
    client.delete_prompt_version(name, "1")
    assert client.get_prompt_version(name, 1) is None
    assert client.get_prompt_version(name, 2).template == "two"
    client.delete_prompt_version(name, "2")
    assert client.load_prompt(name, allow_missing=True) is None
    client.delete_prompt(name)
    assert client.get_prompt(name) is None
    assert code_of(lambda: plain.get_registered_model(name)) == "RESOURCE_DOES_NOT_EXIST"
    refused(ask(plane, "GET", f"/prompts/{name}", BOB), 404, "RESOURCE_DOES_NOT_EXIST")


def test_what_is_not_there_is_not_found(client: MlflowClient, plane: ControlPlane, schema: str) -> None:
    name, other = f"{schema}.p", f"{schema}.nosuch"
    client.register_prompt(name, "one")
    assert client.get_prompt(other) is None
    assert client.get_prompt_version(other, 1) is None
    assert client.get_prompt_version(name, 7) is None
    assert client.load_prompt(other, allow_missing=True) is None
    admin: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", f"/prompts/{other}", {"prompt": {"description": "x"}}),
        ("DELETE", f"/prompts/{other}", {}),
        ("POST", f"/prompts/{other}/versions", {"prompt_version": {"template": '"x"'}}),
        ("POST", f"/prompts/{other}/versions/search", {}),
        ("PATCH", f"/prompts/{name}/versions/7", {"prompt_version": {"description": "x"}}),
        ("DELETE", f"/prompts/{name}/versions/7", {}),
        ("POST", f"/prompts/{name}/aliases/a", {"version": "7"}),
        ("DELETE", f"/prompts/{other}/aliases/a", {}),
        ("POST", f"/prompts/{other}/tags", {"key": "a"}),
        ("DELETE", f"/prompts/{other}/tags/a", {}),
        ("POST", f"/prompts/{name}/versions/7/tags", {"key": "a"}),
        ("DELETE", f"/prompts/{name}/versions/7/tags/a", {}),
    ]
    for method, path, body in admin:
        message = refused(ask(plane, method, path, ADMIN, **body), 404, "RESOURCE_DOES_NOT_EXIST")
        assert message.startswith("Prompt "), path


def test_a_registered_model_is_no_prompt(
    client: MlflowClient, plain: MlflowClient, plane: ControlPlane, schema: str
) -> None:
    name = f"{schema}.model"
    plain.create_registered_model(name)
    # A version that says it is a prompt's makes none of its model.
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "x"}]
    document = {"name": name, "source": "dummy-source", "tags": tags}
    mlflow_api().call("POST", "model-versions/create", document)
    assert client.get_prompt(name) is None
    assert client.get_prompt_version(name, 1) is None
    refused(ask(plane, "DELETE", f"/prompts/{name}", ADMIN), 404, "RESOURCE_DOES_NOT_EXIST")
    refused(ask(plane, "DELETE", f"/prompts/{name}/versions/1", ADMIN), 404, "RESOURCE_DOES_NOT_EXIST")
    refused(ask(plane, "POST", f"/prompts/{name}/tags", ADMIN, key="a"), 404, "RESOURCE_DOES_NOT_EXIST")
    assert code_of(lambda: client.register_prompt(name, "x")) == "RESOURCE_ALREADY_EXISTS"
    catalog, _, schema_name = schema.partition(".")
    assert not client.search_prompts(f"catalog = '{catalog}' AND schema = '{schema_name}'")
    assert plain.get_registered_model(name).name == name


def test_a_prompt_that_is_there_is_told_apart_from_a_model(plane: ControlPlane, schema: str) -> None:
    make(plane, f"{schema}.p")
    answer = ask(plane, "POST", "/prompts", BOB, name=f"{schema}.p")
    assert f"{schema}.p" in refused(answer, 409, "ALREADY_EXISTS")
    assert ask(plane, "GET", f"/prompts/{schema}.p", BOB).status_code == 403, "it is still ANN's"


def test_search_finds_the_prompts_of_a_schema(client: MlflowClient, plain: MlflowClient, schema: str) -> None:
    catalog, _, schema_name = schema.partition(".")
    where = f"catalog = '{catalog}' AND schema = '{schema_name}'"
    for name in ("alpha", "beta", "gamma"):
        client.register_prompt(f"{schema}.{name}", name, tags={"team": name[0]})
    # An underscore is any character to LIKE, and a longer name begins alike.
    plain.register_prompt(f"{catalog}.someXschema.p", "x")
    plain.register_prompt(f"{schema}2.p", "x")
    plain.create_registered_model(f"{schema}.model")
    client.set_prompt_tag(f"{schema}.beta", "_mlflow_experiment_ids", ",17,")

    every = [f"{schema}.{name}" for name in ("alpha", "beta", "gamma")]
    assert found(client.search_prompts(where)) == every
    first = client.search_prompts(where, max_results=2)
    second = client.search_prompts(where, max_results=2, page_token=first.token)
    assert found(first) + found(second) == every
    assert first
    assert second
    assert not second.token
    assert found(client.search_prompts(f"{where} AND name LIKE '%.b%'")) == every[1:2]
    assert found(client.search_prompts(f"{where} AND name = '{every[2]}'")) == every[2:]
    assert found(client.search_prompts(f"{where} AND tags.team = 'a'")) == every[:1]
    assert found(client.search_prompts(f"{where} AND experiment_id = '17'")) == every[1:2]
    assert tags_of(client.search_prompts(where)[0]) == {"team": "a"}
    for wrong in ("nosuch = 'x'", "name ~ 'x'", "name = 'x' OR name = 'y'", "tags.`mlflow.prompt.is_prompt` = 1"):
        query = f"{where} AND {wrong}"
        with pytest.raises(MlflowException) as raised:
            client.search_prompts(query)
        assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_versions_come_in_pages(client: MlflowClient, url: str, schema: str) -> None:
    name = f"{schema}.p"
    for n in range(3):
        client.register_prompt(name, f"{n}")
    store = UcModelRegistryStore("databricks-uc", "databricks")
    first = store.search_prompt_versions(name, max_results=2)
    assert [one.version for one in first.prompt_versions] == ["3", "2"]
    rest = store.search_prompt_versions(name, max_results=2, page_token=first.next_page_token)
    assert [one.version for one in rest.prompt_versions] == ["1"]
    assert not rest.next_page_token


def test_a_change_leaves_alone_what_it_does_not_name(plane: ControlPlane, schema: str) -> None:
    name = f"{schema}.p"
    make(plane, name, "one")
    tags = [{"key": "a", "value": "1"}]
    changed = ask(plane, "PATCH", f"/prompts/{name}", prompt={"description": "said", "tags": tags}).json()
    assert (changed["description"], changed["tags"]) == ("said", tags)
    more = [{"key": "b", "value": "2"}]
    changed = ask(plane, "PATCH", f"/prompts/{name}", prompt={"tags": more}).json()
    assert (changed["description"], changed["tags"]) == ("said", tags + more)

    path = f"/prompts/{name}/versions/1"
    changed = ask(plane, "PATCH", path, prompt_version={"description": "said", "template": '"one"'}).json()
    assert (changed["description"], changed["template"]) == ("said", '"one"')
    changed = ask(plane, "PATCH", path, prompt_version={"tags": tags}).json()
    assert changed["description"] == "said"
    assert tags[0] in changed["tags"]
    message = refused(ask(plane, "PATCH", path, prompt_version={"template": '"two"'}), 400, "INVALID_PARAMETER_VALUE")
    assert "prompt_version.template" in message
    assert ask(plane, "GET", path).json()["template"] == '"one"'


def test_what_is_shown_of_a_prompt_is_what_its_client_reads(plane: ControlPlane, schema: str) -> None:
    name = f"{schema}.p"
    make(plane, name, "one")
    mlflow_api().call("POST", "registered-models/set-tag", {"name": name, "key": "moorage.x", "value": "1"})
    prompt = ask(plane, "GET", f"/prompts/{name}").json()
    version = ask(plane, "GET", f"/prompts/{name}/versions/1").json()
    assert prompt["tags"] == []
    assert version["tags"] == [{"key": "_mlflow_prompt_type", "value": "text"}]
    for one in (prompt, version):
        for when in ("creation_timestamp", "last_updated_timestamp"):
            assert one[when].endswith("Z")
            assert one[when][10] == "T"


@pytest.mark.parametrize("key", ["mlflow.prompt.is_prompt", "mlflow.prompt.text", "moorage.x", "_mlflow_prompt_type"])
def test_tags_that_the_registry_keeps_are_nobodys_to_write(plane: ControlPlane, schema: str, key: str) -> None:
    name = f"{schema}.p"
    make(plane, name, "one")
    tag = {"key": key, "value": "false"}
    wrong: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/prompts", {"name": f"{schema}.q", "prompt": {"tags": [tag]}}),
        ("PATCH", f"/prompts/{name}", {"prompt": {"tags": [tag]}}),
        ("POST", f"/prompts/{name}/tags", tag),
        ("DELETE", f"/prompts/{name}/tags/{key}", {}),
        ("PATCH", f"/prompts/{name}/versions/1", {"prompt_version": {"tags": [tag]}}),
        ("POST", f"/prompts/{name}/versions/1/tags", tag),
        ("DELETE", f"/prompts/{name}/versions/1/tags/{key}", {}),
    ]
    if key != "_mlflow_prompt_type":  # which the client sends, rightly, of every version
        body = {"prompt_version": {"template": '"x"', "tags": [tag]}}
        wrong.append(("POST", f"/prompts/{name}/versions", body))
    for method, path, body in wrong:
        assert key in refused(ask(plane, method, path, **body), 400, "INVALID_PARAMETER_VALUE"), (method, path)
    assert ask(plane, "GET", f"/prompts/{name}/versions/1").json()["template"] == '"one"'
    assert ask(plane, "GET", f"/prompts/{schema}.q", ADMIN).status_code == 404


def test_the_type_of_a_template_is_what_it_is_and_not_what_is_said(plane: ControlPlane, schema: str) -> None:
    name = f"{schema}.p"
    make(plane, name)
    said = {"template": '"one"', "tags": [{"key": "_mlflow_prompt_type", "value": "chat"}]}
    answer = ask(plane, "POST", f"/prompts/{name}/versions", prompt_version=said).json()
    assert answer["template"] == '"one"'
    assert answer["tags"] == [{"key": "_mlflow_prompt_type", "value": "text"}]


@pytest.mark.parametrize("name", ["p", "a.p", "a.b.c.d", "a..c", ".b.c"])
def test_names_have_three_levels(plane: ControlPlane, name: str) -> None:
    for answer in (ask(plane, "POST", "/prompts", name=name), ask(plane, "GET", f"/prompts/{name}")):
        assert "specify all three levels" in refused(answer, 400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/prompts", {}, "name"),
        ("POST", "/prompts", {"name": "a.b.c'd"}, "name"),
        ("POST", "/prompts", {"name": "a.b.c", "prompt": {"tags": [{"value": "x"}]}}, "prompt.tags[0].key"),
        ("PATCH", "/prompts/a.b.c", {}, "prompt"),
        ("POST", "/prompts/a.b.c/versions", {}, "prompt_version"),
        ("POST", "/prompts/a.b.c/versions", {"prompt_version": {}}, "prompt_version.template"),
        *(
            ("POST", "/prompts/a.b.c/versions", {"prompt_version": {"template": text}}, "prompt_version.template")
            for text in NO_TEMPLATES
        ),
        ("GET", "/prompts/a.b.c/versions/first", {}, "version"),
        ("GET", f"/prompts/a.b.c/versions/{'9' * 30}", {}, "version"),
        ("POST", "/prompts/a.b.c/aliases/x", {}, "version"),
        ("POST", "/prompts/a.b.c/tags", {}, "key"),
        ("POST", "/prompts/search", {}, "catalog_schema"),
        ("POST", "/prompts/search", {"catalog_schema": {"catalog_name": "a"}}, "catalog_schema.schema_name"),
        (
            "POST",
            "/prompts/search",
            {"catalog_schema": {"catalog_name": "a' OR '", "schema_name": "b"}},
            "catalog_schema.catalog_name",
        ),
        (
            "POST",
            "/prompts/search",
            {"catalog_schema": {"catalog_name": "a", "schema_name": "b"}, "max_results": 1001},
            "max_results",
        ),
        ("POST", "/prompts/a.b.c/versions/search", {"max_results": 0}, "max_results"),
        ("POST", "/prompt-versions/links-to-runs", {"prompt_versions": []}, "run_ids"),
        ("POST", "/prompt-versions/links-to-models", {"model_ids": []}, "prompt_versions"),
        (
            "POST",
            "/prompt-versions/links-to-traces",
            {"prompt_versions": [{"name": "a.b.c", "version": "x"}], "trace_ids": []},
            "prompt_versions[0].version",
        ),
    ],
)
def test_what_is_wrong_is_named(
    plane: ControlPlane, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    assert f"'{field}'" in refused(ask(plane, method, path, ADMIN, **body), 400, "INVALID_PARAMETER_VALUE")


def test_templates_longer_than_mlflow_keeps_are_refused_with_its_word(plane: ControlPlane, schema: str) -> None:
    name = f"{schema}.p"
    make(plane, name)
    body = {"template": json.dumps("x" * 100_001)}
    answer = ask(plane, "POST", f"/prompts/{name}/versions", prompt_version=body)
    assert "100000" in refused(answer, 400, "INVALID_PARAMETER_VALUE")


OPERATIONS: list[tuple[ModelLevel, str, str, dict[str, Any]]] = [
    (ModelLevel.CAN_READ, "GET", "", {}),
    (ModelLevel.CAN_READ, "GET", "/versions/1", {}),
    (ModelLevel.CAN_READ, "GET", "/versions/by-alias/latest", {}),
    (ModelLevel.CAN_READ, "POST", "/versions/search", {}),
    (ModelLevel.CAN_EDIT, "PATCH", "", {"prompt": {"description": "x"}}),
    (ModelLevel.CAN_EDIT, "POST", "/tags", {"key": "a", "value": "b"}),
    (ModelLevel.CAN_EDIT, "DELETE", "/tags/a", {}),
    (ModelLevel.CAN_EDIT, "POST", "/versions", {"prompt_version": {"template": '"x"'}}),
    (ModelLevel.CAN_EDIT, "PATCH", "/versions/1", {"prompt_version": {"description": "x"}}),
    (ModelLevel.CAN_EDIT, "POST", "/versions/1/tags", {"key": "a", "value": "b"}),
    (ModelLevel.CAN_EDIT, "DELETE", "/versions/1/tags/a", {}),
    (ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS, "POST", "/aliases/a", {"version": "1"}),
    (ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS, "DELETE", "/aliases/a", {}),
    (ModelLevel.CAN_MANAGE, "DELETE", "/versions/2", {}),
    (ModelLevel.CAN_MANAGE, "DELETE", "", {}),
]


@pytest.mark.parametrize(("needed", "method", "path", "body"), OPERATIONS)
def test_each_operation_takes_its_level(
    plane: ControlPlane, schema: str, needed: ModelLevel, method: str, path: str, body: dict[str, Any]
) -> None:
    name = f"{schema}.p"
    make(plane, name, "one", "two")
    levels = list(ModelLevel)
    assert refused(ask(plane, method, f"/prompts/{name}{path}", BOB, **body), 403, "PERMISSION_DENIED")
    for level in levels:
        with plane.sessions.begin() as session:
            permissions.forget_object(session, ObjectType.REGISTERED_MODEL, name)
        grant(plane, name, BOB, level)
        answer = ask(plane, method, f"/prompts/{name}{path}", BOB, **body)
        if level.allows(needed):
            assert answer.status_code != 403, answer.text
            return
        refused(answer, 403, "PERMISSION_DENIED")
    pytest.fail("no level was enough")


def test_a_prompt_is_its_makers_and_lists_leave_out_the_others(plane: ControlPlane, schema: str) -> None:
    for name, maker in (("a1", ANN), ("a2", ANN), ("b1", BOB), ("z1", ANN)):
        make(plane, f"{schema}.{name}", "x", caller=maker)
    catalog, _, schema_name = schema.partition(".")
    where = {"catalog_schema": {"catalog_name": catalog, "schema_name": schema_name}}

    def seen(caller: Principal, **options: Any) -> list[str]:
        answer = ask(plane, "POST", "/prompts/search", caller, **where, **options).json()
        return [one["name"].rpartition(".")[2] for one in answer["prompts"]]

    assert (seen(ANN), seen(BOB), seen(ADMIN)) == (["a1", "a2", "z1"], ["b1"], ["a1", "a2", "b1", "z1"])
    assert seen(BOB, max_results=1) == ["b1"], "pages of which the caller may see nothing are passed over"
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, f"{schema}.z1", BOB.id, ModelLevel.CAN_READ)
    assert seen(BOB) == ["b1", "z1"]


def test_a_prompt_whose_maker_cannot_be_noted_is_not_made(
    plane: ControlPlane, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an owner it would be everybody's to read."""

    def fail(*_: Any) -> None:
        raise RuntimeError("the database is gone")

    name = f"{schema}.p"
    with monkeypatch.context() as patch:
        patch.setattr("moorage.control.registry_access.RegistryAccess.created", fail)
        assert ask(plane, "POST", "/prompts", name=name).status_code == 500
    refused(ask(plane, "GET", f"/prompts/{name}", BOB), 404, "RESOURCE_DOES_NOT_EXIST")
    make(plane, name, "one")
    refused(ask(plane, "GET", f"/prompts/{name}", BOB), 403, "PERMISSION_DENIED")


@pytest.mark.parametrize("token", ["bnVsbA==", "W10=", "x", "eyJvZmZzZXQiOiAtMX0="])
def test_a_page_token_is_one_that_was_given(plane: ControlPlane, schema: str, token: str) -> None:
    catalog, _, schema_name = schema.partition(".")
    where = {"catalog_name": catalog, "schema_name": schema_name}
    make(plane, f"{schema}.p", "one")
    for path, body in (("/prompts/search", {"catalog_schema": where}), (f"/prompts/{schema}.p/versions/search", {})):
        refused(ask(plane, "POST", path, page_token=token, **body), 400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("kind", ["runs", "models", "traces"])
@pytest.mark.parametrize("wrong", ["..", ".", "a/b", "m-1/../x", ""])
def test_what_is_linked_is_named_by_an_id(plane: ControlPlane, kind: str, wrong: str) -> None:
    """Ids of models and traces become parts of paths."""
    field = LINKED[kind][0]
    answer = ask(plane, "POST", f"/prompt-versions/links-to-{kind}", prompt_versions=[], **{field: [wrong]})
    refused(answer, 400, "INVALID_PARAMETER_VALUE")


def test_a_deleted_prompts_rights_go_with_it(plane: ControlPlane, schema: str) -> None:
    name = f"{schema}.p"
    make(plane, name)
    grant(plane, name, BOB, ModelLevel.CAN_READ)
    assert ask(plane, "DELETE", f"/prompts/{name}").status_code == 200
    make(plane, name, caller=ADMIN)
    refused(ask(plane, "GET", f"/prompts/{name}", BOB), 403, "PERMISSION_DENIED")
    refused(ask(plane, "GET", f"/prompts/{name}", ANN), 403, "PERMISSION_DENIED")


def a_run() -> str:
    made = mlflow_api().call("POST", "runs/create", {"experiment_id": "0"})
    return str(made["run"]["info"]["run_id"])


def a_logged_model() -> str:
    made = mlflow_api().call("POST", "logged-models", {"experiment_id": "0", "name": "m"})
    return str(made["model"]["info"]["model_id"])


def a_trace() -> str:
    trace_id = f"tr-{uuid.uuid4().hex}"
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    answer = mlflow_api().http.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    assert answer.status_code == 200, answer.text
    return trace_id


def links_of(kind: str, of: str) -> Any:
    """What MLflow's tag says that the run, logged model or trace uses."""
    api = mlflow_api()
    if kind == "runs":
        tags = api.call("GET", "runs/get", query={"run_id": of})["run"]["data"].get("tags", ())
    elif kind == "models":
        tags = api.call("GET", f"logged-models/{of}")["model"]["info"].get("tags", ())
    else:
        tags = api.http.get(f"/api/3.0/mlflow/traces/{of}").json()["trace"]["trace_info"].get("tags", {})
    held = tags if isinstance(tags, dict) else {one["key"]: one["value"] for one in tags}
    return json.loads(held.get("mlflow.linkedPrompts", "[]"))


LINKED: dict[str, tuple[str, Callable[[], str]]] = {
    "runs": ("run_ids", a_run),
    "models": ("model_ids", a_logged_model),
    "traces": ("trace_ids", a_trace),
}


@pytest.mark.parametrize("kind", LINKED)
def test_links_are_kept_where_mlflow_keeps_them(plane: ControlPlane, schema: str, kind: str) -> None:
    field, new = LINKED[kind]
    make(plane, f"{schema}.p", "one", "two")
    make(plane, f"{schema}.q", "one")
    p1, p2, q1 = ({"name": f"{schema}.{name}", "version": version} for name, version in ("p1", "p2", "q1"))
    first, second = new(), new()

    def link(*prompts: dict[str, str], to: list[str]) -> Any:
        return ask(plane, "POST", f"/prompt-versions/links-to-{kind}", prompt_versions=prompts, **{field: to})

    assert link(p1, to=[first]).json() == {}
    assert link(p1, q1, p2, q1, to=[first, second]).json() == {}
    assert links_of(kind, first) == links_of(kind, second) == [p1, q1, p2]
    assert link(p1, to=[first]).status_code == 200
    assert links_of(kind, first) == [p1, q1, p2]
    refused(link(p1, to=[f"{first[:-1]}-"]), 404, "RESOURCE_DOES_NOT_EXIST")
    refused(link({**p1, "version": "9"}, to=[first]), 404, "RESOURCE_DOES_NOT_EXIST")
    refused(link({**p1, "name": f"{schema}.nosuch"}, to=[first]), 404, "RESOURCE_DOES_NOT_EXIST")
    make(plane, f"{schema}.secret", "x", caller=BOB)
    refused(link({**p1, "name": f"{schema}.secret"}, to=[first]), 403, "PERMISSION_DENIED")
    assert links_of(kind, first) == [p1, q1, p2]


def test_links_made_at_once_are_all_kept(plane: ControlPlane, schema: str) -> None:
    run = a_run()
    make(plane, f"{schema}.p", *map(str, range(8)))
    entries = [{"name": f"{schema}.p", "version": str(n + 1)} for n in range(8)]

    def link(entry: dict[str, str]) -> None:
        ask(plane, "POST", "/prompt-versions/links-to-runs", prompt_versions=[entry], run_ids=[run])

    threads = [threading.Thread(target=link, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(links_of("runs", run), key=lambda one: int(one["version"])) == entries


def test_a_tag_that_lists_no_links_is_left_as_it_is(plane: ControlPlane, schema: str) -> None:
    run = a_run()
    make(plane, f"{schema}.p", "one")
    for value in ("no JSON", "{}"):
        document = {"run_id": run, "key": "mlflow.linkedPrompts", "value": value}
        mlflow_api().call("POST", "runs/set-tag", document)
        entry = {"name": f"{schema}.p", "version": "1"}
        answer = ask(plane, "POST", "/prompt-versions/links-to-runs", prompt_versions=[entry], run_ids=[run])
        assert "mlflow.linkedPrompts" in refused(answer, 400, "INVALID_PARAMETER_VALUE")


def test_the_client_links_runs_models_and_traces(client: MlflowClient, schema: str) -> None:
    name = f"{schema}.p"
    prompt: PromptVersion = client.register_prompt(name, "one")
    run, model, trace = a_run(), a_logged_model(), a_trace()
    client.link_prompt_version_to_run(run, f"prompts:/{name}/1")
    client.link_prompt_version_to_model(name, "1", model)
    client.link_prompt_versions_to_trace([prompt], trace)
    expected = [{"name": name, "version": "1"}]
    assert links_of("runs", run) == links_of("models", model) == links_of("traces", trace) == expected


def test_traces_are_found_by_their_prompts(plane: ControlPlane, plain: MlflowClient, schema: str) -> None:
    make(plane, f"{schema}.p", "one")
    trace, _ = a_trace(), a_trace()
    entry = {"name": f"{schema}.p", "version": "1"}
    linked = ask(plane, "POST", "/prompt-versions/links-to-traces", prompt_versions=[entry], trace_ids=[trace])
    assert linked.status_code == 200
    found = plain.search_traces(
        locations=["0"], filter_string=f"prompt = '{schema}.p/1'", include_spans=False
    )
    assert [one.info.trace_id for one in found] == [trace]


def test_without_mlflow_the_registry_does_not_answer(tmp_path: Path) -> None:
    with control_plane(tmp_path) as plane:
        refused(ask(plane, "GET", "/prompts/a.b.c"), 503, "TEMPORARILY_UNAVAILABLE")
        refused(ask(plane, "POST", "/prompts", name="a.b.c"), 503, "TEMPORARILY_UNAVAILABLE")
