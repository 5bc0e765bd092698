"""`moorage endpoints` against a scripted server: what it sends, what it prints, how it ends."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import TOKEN, Answer, ScriptedApi, ok, refusal, scripted_api, stream
from typer.testing import CliRunner

from moorage.cli import completion, output
from moorage.cli.client import ApiClient, ApiRefused, Unreachable
from moorage.cli.configuration import BadConfiguration
from moorage.cli.endpoint_bodies import ServedEntityOptions, update_body
from moorage.cli.main import app
from moorage.cli.output import harmless
from moorage.cli.sse import MOST_LINE_BYTES, BadStream, Event, EventReader
from moorage.cli.waiting import Progress, UpdateFailed, added, wait_for_update
from moorage.control.admin_env import connection_variables, write_admin_env
from moorage.datadir import DataDirectory

ALL = "/api/2.0/serving-endpoints"
WINE = f"{ALL}/wine"
EVENTS = f"{WINE}/events"
LOGS = f"{WINE}/served-models/wine-1/logs"
BUILD = f"{WINE}/served-models/wine-1/build-logs"

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("MOORAGE_", "DATABRICKS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOORAGE_DATA_DIR", str(tmp_path / "no-server-here"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as running:
        yield running


@pytest.fixture
def client(api: ScriptedApi) -> ApiClient:
    return ApiClient(api.url, TOKEN, sleep=lambda seconds: None)


def run(api: ScriptedApi, *arguments: str, **options: Any) -> Result:
    """The command with the scripted server as its server; no output may have the token."""
    result = CliRunner().invoke(app, ["endpoints", *arguments, "--host", api.url, "--token", TOKEN], **options)
    assert TOKEN not in result.output
    return result


def entity(name: str = "wine-1", version: str = "1", state: str = "READY", message: str = "", **more: Any) -> Json:
    return {
        "name": name,
        "entity_name": "main.default.wine",
        "entity_version": version,
        "workload_size": "Small",
        "workload_type": "CPU",
        "scale_to_zero_enabled": False,
        "creator": "admin@localhost",
        "creation_timestamp": 1,
        "state": {"deployment": f"DEPLOYMENT_{state}", "deployment_state_message": message},
        **more,
    }


def config(version: int, *entities: Json, **shares: int) -> Json:
    routes = [
        {"served_model_name": name, "served_entity_name": name, "traffic_percentage": share}
        for name, share in (shares or {entities[0]["name"]: 100}).items()
    ]
    return {"config_version": version, "served_entities": list(entities), "traffic_config": {"routes": routes}}


def detail(ready: str = "READY", update: str = "NOT_UPDATING", **more: Any) -> Json:
    return {
        "name": "wine",
        "creator": "admin@localhost",
        "creation_timestamp": 1_700_000_000_000,
        "last_updated_timestamp": 1_700_000_060_000,
        "id": "0" * 32,
        "state": {"ready": ready, "config_update": update, "update_state": update},
        "tags": [],
        "description": "",
        "permission_level": "CAN_MANAGE",
        "route_optimized": False,
        **more,
    }


SERVING = detail(config=config(1, entity()))
CREATING = detail("NOT_READY", "IN_PROGRESS", pending_config=config(1, entity(state="CREATING", message="Creating")))
FAILED = detail(
    "NOT_READY", "UPDATE_FAILED", pending_config=config(1, entity(state="FAILED", message="No such package: nope"))
)


def event(number: int, **more: Any) -> Json:
    return {
        "id": number,
        "event_type": "SERVED_ENTITY_READY",
        "status": "SUCCESS",
        "trigger": "REPLICAS_READY",
        "message": f"message {number}",
        "timestamp": 1_700_000_000_000 + number,
        "served_entity_name": "wine-1",
        **more,
    }


# Finding the server


def server_in(folder: Path, host: str, token: str) -> Path:
    data = DataDirectory(folder)
    data.create()
    write_admin_env(data.admin_env, connection_variables(host, token))
    return folder


def listed(api: ScriptedApi, *arguments: str) -> Result:
    api.on("GET", ALL, ok({"endpoints": []}))
    return CliRunner().invoke(app, ["endpoints", "list", *arguments])


def test_the_server_is_that_of_the_options_then_the_environment_then_this_machine(
    api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(server_in(tmp_path / "data", api.url, "token-of-admin-env"))
    assert listed(api, "--data-dir", data).exit_code == 0
    monkeypatch.setenv("DATABRICKS_HOST", api.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-environment")
    assert listed(api, "--data-dir", data).exit_code == 0
    assert listed(api, "--data-dir", data, "--token", "token-of-option").exit_code == 0
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    assert listed(api, "--host", f"{api.url}/").exit_code == 0
    tokens = [asked.headers["authorization"].removeprefix("Bearer ") for asked in api.asked]
    assert tokens == ["token-of-admin-env", "token-of-environment", "token-of-option", "token-of-environment"]


def test_the_token_of_this_machines_server_goes_to_no_other(api: ScriptedApi, tmp_path: Path) -> None:
    data = str(server_in(tmp_path / "data", "http://127.0.0.1:9", TOKEN))
    result = listed(api, "--host", api.url, "--data-dir", data)
    assert result.exit_code == 2
    assert result.stderr == f"error: no token for {api.url}: give --token or set DATABRICKS_TOKEN\n"
    assert api.asked == []


def test_a_token_without_a_host_in_the_environment_is_not_for_this_machines_server(
    api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "of-somewhere-else")
    assert listed(api, "--data-dir", str(server_in(tmp_path / "data", api.url, TOKEN))).exit_code == 0
    assert api.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no server: give --host and --token, or set DATABRICKS_HOST and DATABRICKS_TOKEN"),
        (["--host", "ftp://x", "--token", "t"], "the host must be an http:// or https:// URL"),
        (["--host", "http://me:secret@x", "--token", "t"], "the host must be an http:// or https:// URL"),
        (["--host", "http://x:port", "--token", "t"], "the host is not a URL"),
        (["--host", "http://x?a=b", "--token", "t"], "the host must be a URL without '?' and '#'"),
        (["--host", "http://x", "--token", "line\nbreak"], "the token has characters that no token has"),
    ],
)
def test_a_connection_that_cannot_be_is_wrong_usage(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["endpoints", "list", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {words}")
    assert "secret" not in result.stderr
    assert "break" not in result.stderr


def test_a_netrc_file_does_not_replace_the_token(
    api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api.on("GET", ALL, ok({"endpoints": []}))
    assert run(api, "list").exit_code == 0
    assert api.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


# How errors end


def test_a_refusal_shows_its_code_and_message_and_ends_with_1(api: ScriptedApi) -> None:
    api.on("GET", WINE, refusal(404, "RESOURCE_DOES_NOT_EXIST", "Endpoint with name 'wine' not found."))
    result = run(api, "get", "wine")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: RESOURCE_DOES_NOT_EXIST: Endpoint with name 'wine' not found.\n"


def test_a_server_that_is_not_there_ends_with_4(api: ScriptedApi) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = CliRunner().invoke(app, ["endpoints", "list", "--host", host, "--token", TOKEN])
    assert result.exit_code == 4
    assert result.stderr == f"error: cannot reach {host}: Connection refused\n"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, (b"<html>Bad Gateway</html>",), "text/html"),
        Answer(200, (b"<html>Welcome</html>",), "text/html"),
        Answer(200, (b"[1, 2]",)),
        Answer(307, (), headers={"Location": "/elsewhere"}),
    ],
)
def test_something_else_than_the_api_ends_with_4(api: ScriptedApi, answer: Answer) -> None:
    api.on("GET", ALL, answer)
    result = run(api, "list")
    assert result.exit_code == 4
    assert result.stderr.startswith(f"error: what answers at {api.url} is not this API: ")
    assert len(api.asked) == 1


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_elsewhere_is_not_sent(api: ScriptedApi, name: str) -> None:
    for command in (["get"], ["delete", "--yes"], ["query", "--json", "{}"]):
        assert run(api, *command, name).exit_code == 2
    assert api.asked == []


def test_a_slash_in_a_name_stays_in_the_name(api: ScriptedApi) -> None:
    api.on("DELETE", f"{ALL}/wine%2Fconfig", ok({}))
    assert run(api, "delete", "wine/config", "--yes").exit_code == 0


# list and get


def test_list_is_a_table_and_asks_for_the_split_only_where_there_is_one(api: ScriptedApi) -> None:
    two = config(3, entity("a"), entity("b", "2"), a=90, b=10)
    several = {**detail(update="UPDATE_FAILED", config=two), "name": "two"}
    new = {**detail("NOT_READY", "IN_PROGRESS"), "name": "a-new-one", "last_updated_timestamp": 0}
    stopped = {**SERVING, "name": "off", "stopped": True}
    api.on("GET", ALL, ok({"endpoints": [SERVING, several, new, stopped]}))
    api.on("GET", f"{ALL}/two", ok(several))
    result = run(api, "list")
    assert result.stdout.splitlines() == [
        "NAME       STATE                  SERVED ENTITIES                                 "
        "TRAFFIC       CREATOR          LAST MODIFIED",
        "wine       Ready                  wine-1: main.default.wine/1                     "
        "100%          admin@localhost  2023-11-14 22:14:20",
        "two        Ready (update failed)  a: main.default.wine/1, b: main.default.wine/2  "
        "a 90%, b 10%  admin@localhost  2023-11-14 22:14:20",
        "a-new-one  Not ready (updating)   -                                               "
        "-             admin@localhost  -",
        "off        Stopped                wine-1: main.default.wine/1                     "
        "100%          admin@localhost  2023-11-14 22:14:20",
    ]
    assert [asked.path for asked in api.asked] == [ALL, f"{ALL}/two"]


@pytest.mark.parametrize(
    ("command", "path"), [("list", ALL), ("get wine", WINE), ("events wine", EVENTS), ("logs wine", LOGS)]
)
def test_json_is_exactly_the_answer(api: ScriptedApi, command: str, path: str) -> None:
    answer = {"endpoints": [], "events": [], "logs": "Tromsø\u2028\x9b", "big": 2**63, "new": {"field": [1.5, None]}}
    api.on("GET", WINE, ok(SERVING))
    api.on("GET", path, *([ok({**SERVING, **answer})] if path == WINE else [ok(answer)]))
    result = run(api, *command.split(), "--output", "json")
    assert json.loads(result.stdout) == ({**SERVING, **answer} if path == WINE else answer)
    assert "\x9b" not in result.stdout


def test_get_shows_both_configurations_and_the_message_of_each_entity(api: ScriptedApi) -> None:
    failed = entity("wine-2", "2", "FAILED", "No such package: nope\nsecond line", environment_vars={"KEY": "hidden"})
    pending = {**config(2, failed), "start_time": 1_700_000_000_000}
    tags = [{"key": "team", "value": "cellar"}]
    shown = detail(update="UPDATE_FAILED", config=config(1, entity()), pending_config=pending, tags=tags)
    api.on("GET", WINE, ok({**shown, "description": "Reds"}))
    result = run(api, "get", "wine")
    assert result.stdout == (
        "Name:           wine\n"
        "State:          Ready (update failed)\n"
        "Description:    Reds\n"
        "Creator:        admin@localhost\n"
        "Created:        2023-11-14 22:13:20\n"
        "Last modified:  2023-11-14 22:14:20\n"
        "Permission:     CAN_MANAGE\n"
        "Tags:           team=cellar\n"
        f"Query:          {api.url}/serving-endpoints/wine/invocations\n"
        "\n"
        "Active configuration, version 1\n"
        "  SERVED ENTITY  MODEL                SIZE   SCALE TO ZERO  TRAFFIC  STATE\n"
        "  wine-1         main.default.wine/1  Small  no             100%     READY\n"
        "\n"
        "Pending configuration, version 2, since 2023-11-14 22:13:20\n"
        "  SERVED ENTITY  MODEL                SIZE   SCALE TO ZERO  TRAFFIC  STATE\n"
        "  wine-2         main.default.wine/2  Small  no             100%     FAILED\n"
        "  wine-2 has the environment variables KEY\n"
        "  wine-2: No such package: nope\n"
        "    second line\n"
    )


def external(name: str = "gpt", message: str = "") -> Json:
    model = {"name": "gpt-4.1", "provider": "openai", "task": "llm/v1/chat", "openai_config": {}}
    return {
        "name": name,
        "external_model": model,
        "creator": "admin@localhost",
        "creation_timestamp": 1,
        "state": {"deployment": "DEPLOYMENT_READY", "deployment_state_message": message},
    }


def test_external_models_are_shown_by_provider_and_task(api: ScriptedApi) -> None:
    shown = detail(config=config(1, external(message="The secret cannot be read.")), endpoint_type="EXTERNAL_MODEL")
    api.on("GET", ALL, ok({"endpoints": [shown]}))
    api.on("GET", WINE, ok(shown))
    assert "gpt: openai/gpt-4.1 (llm/v1/chat)" in run(api, "list").stdout
    assert run(api, "get", "wine").stdout.endswith(
        "Active configuration, version 1\n"
        "  SERVED ENTITY  MODEL                         SIZE  SCALE TO ZERO  TRAFFIC  STATE\n"
        "  gpt            openai/gpt-4.1 (llm/v1/chat)  -     -              100%     READY\n"
        "  gpt: The secret cannot be read.\n"
    )


def test_creating_external_models_ends_at_once(api: ScriptedApi) -> None:
    ready = detail(config=config(1, external()))
    api.on("POST", ALL, ok(ready))
    api.on("GET", WINE, ok(ready))
    api.on("GET", EVENTS, ok({"events": []}))
    body = {"config": {"served_entities": [{"external_model": external()["external_model"]}]}}
    result = run(api, "create", "wine", "--json", json.dumps(body))
    assert result.exit_code == 0
    assert "openai/gpt-4.1" in result.stdout
    assert api.asked[0].document == {**body, "name": "wine"}


# create


def test_create_sends_what_the_options_say(api: ScriptedApi) -> None:
    api.on("POST", ALL, ok(CREATING))
    options = "--workload-type CPU --scale-to-zero --min-concurrency 0 --max-concurrency 8 --served-name red"
    more = ["--env", "A=b=c", "--env", "K={{secrets/s/k}}", "--description", "Reds"]
    more += ["--tag", "team=x", "--tag", "new"]
    result = run(api, "create", "wine", "--model", "models:/m.d.wine/3", *options.split(), *more, "--no-wait")
    assert result.exit_code == 0, result.output
    [sent] = api.changes()
    assert sent.document == {
        "name": "wine",
        "config": {
            "served_entities": [
                {
                    "name": "red",
                    "entity_name": "m.d.wine",
                    "entity_version": "3",
                    "workload_type": "CPU",
                    "scale_to_zero_enabled": True,
                    "min_provisioned_concurrency": 0,
                    "max_provisioned_concurrency": 8,
                    "environment_vars": {"A": "b=c", "K": "{{secrets/s/k}}"},
                }
            ]
        },
        "description": "Reds",
        "tags": [{"key": "team", "value": "x"}, {"key": "new", "value": ""}],
    }


def test_create_leaves_out_what_is_not_given(api: ScriptedApi) -> None:
    api.on("POST", ALL, ok(CREATING))
    run(api, "create", "wine", "--entity-name", "wine", "--entity-version", "1", "--no-wait")
    [entity_sent] = api.changes()[0].document["config"]["served_entities"]
    assert entity_sent == {"entity_name": "wine", "entity_version": "1"}


def test_an_alias_and_latest_are_looked_up(api: ScriptedApi) -> None:
    registry = "/api/2.0/mlflow/registered-models"
    api.on("GET", f"{registry}/alias", ok({"model_version": {"version": "7"}}))
    versions = [{"version": "9", "current_stage": "None"}, {"version": "10", "current_stage": "Staging"}]
    api.on("GET", f"{registry}/get-latest-versions", ok({"model_versions": versions}))
    api.on("POST", ALL, ok(CREATING))
    run(api, "create", "wine", "--model", "models:/m.d.wine@champion", "--no-wait")
    run(api, "create", "wine", "--model", "models:/m.d.wine/latest", "--no-wait")
    sent = [asked.document["config"]["served_entities"][0]["entity_version"] for asked in api.changes()]
    assert sent == ["7", "10"]
    assert [asked.query for asked in api.asked if asked.method == "GET"] == [
        {"name": "m.d.wine", "alias": "champion"},
        {"name": "m.d.wine"},
    ]


@pytest.mark.parametrize("source", ["text", "file", "stdin"])
def test_create_takes_a_whole_body(api: ScriptedApi, tmp_path: Path, source: str) -> None:
    api.on("POST", ALL, ok(CREATING))
    body = {"config": {"served_models": [{"model_name": "wine"}]}, "route_optimized": True}
    text = json.dumps(body)
    file = tmp_path / "body.json"
    file.write_text(text)
    argument = {"text": text, "file": str(file), "stdin": "-"}[source]
    result = run(api, "create", "wine", "--json", argument, "--no-wait", input=text)
    assert result.exit_code == 0, result.output
    assert api.changes()[0].document == {"name": "wine", **body}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "wine"], "give --model, or --entity-name and --entity-version, or --json"),
        (["create", "wine", "--entity-name", "m"], "--entity-name needs --entity-version"),
        (["create", "wine", "--model", "models:/m/1", "--entity-version", "2"], "give either --model, or"),
        (["create", "wine", "--model", "m/1"], "the model must be models:/NAME/VERSION,"),
        (["create", "wine", "--model", "runs:/abc/model"], "the model must be models:/NAME/VERSION,"),
        (["create", "wine", "--model", "models:/m/Production"], "the model must be models:/NAME/VERSION,"),
        (["create", "wine", "--model", "models:/m/1", "--env", "hunter2"], "--env must be KEY=VALUE"),
        (["create", "wine", "--json", "{}", "--model", "models:/m/1"], "--json is the whole body"),
        (["create", "wine", "--json", "{}", "--tag", "a=b"], "--json is the whole body"),
        (["create", "wine", "--json", '{"name": "red"}'], "--json has the name 'red', not 'wine'"),
        (["create", "wine", "--json", "{"], "--json is not valid JSON: "),
        (["create", "wine", "--json", '{"a": NaN}'], "--json is not valid JSON: NaN is no JSON number"),
        (["create", "wine", "--json", "[1]"], "--json must be a JSON object"),
        (["create", "wine", "--json", "no-such-file"], "--json: cannot read the file 'no-such-file': No "),
        (["update", "wine", "--json", "{}", "--traffic", "a=100"], "--json is the whole body"),
        (["update", "wine"], "nothing to change"),
        (["update", "wine", "--traffic", "wine-1"], "--traffic must be shares in percent, such as a=90,b=10"),
        (["update", "wine", "--traffic", "a=-5,b=105"], "--traffic must be shares in percent"),
        (["query", "wine"], "give either --json or --example"),
        (["query", "wine", "--json", "{}", "--example"], "give either --json or --example"),
        (["logs", "wine", "-f", "-o", "json"], "--output json is the answer of the API"),
        (["delete", "wine"], "nobody can be asked here: give --yes to delete the endpoint"),
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(api: ScriptedApi, arguments: list[str], words: str) -> None:
    api.on("GET", WINE, ok(SERVING))
    result = run(api, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {words}")
    assert "hunter2" not in result.output
    assert api.changes() == []


@pytest.mark.parametrize("arguments", [["get"], ["list", "--output", "yaml"], ["events", "wine", "--limit", "0"]])
def test_what_the_parser_refuses_ends_with_2(api: ScriptedApi, arguments: list[str]) -> None:
    assert run(api, *arguments).exit_code == 2


# Waiting


def test_create_waits_and_tells_what_happens(api: ScriptedApi) -> None:
    api.on("POST", ALL, ok(CREATING))
    api.on("GET", WINE, ok(CREATING), ok(CREATING), ok(SERVING))
    first, second = event(1, message="Building"), event(2, message="Up\nmore")
    api.on("GET", EVENTS, ok({"events": [first]}), ok({"events": [first]}), ok({"events": [second, first]}))
    api.on("GET", BUILD, ok({"logs": "resolving\ninstal"}), ok({"logs": "resolving\ninstalling\ndone\n"}))
    result = run(api, "create", "wine", "--model", "models:/wine/1")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        "2023-11-14 22:13:20  SUCCESS  SERVED_ENTITY_READY  wine-1  Building",
        "wine-1 | resolving",
        "wine: Not ready (updating)",
        "wine-1 | installing",
        "wine-1 | done",
        "2023-11-14 22:13:20  SUCCESS  SERVED_ENTITY_READY  wine-1  Up",
        "wine: Ready",
    ]
    assert result.stdout.startswith("Name:           wine\nState:          Ready\n")


def test_an_update_that_fails_ends_with_3_and_says_why(api: ScriptedApi) -> None:
    api.on("GET", WINE, ok(SERVING), ok(FAILED))
    api.on("PUT", f"{WINE}/config", ok(CREATING))
    result = run(api, "update", "wine", "--model", "models:/main.default.wine/2", "--output", "json")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == "error: wine: wine-1: No such package: nope"
    assert json.loads(result.stdout) == FAILED


def test_events_from_before_the_update_are_not_told(api: ScriptedApi) -> None:
    api.on("POST", f"{WINE}/config:start", ok(CREATING))
    api.on("GET", WINE, ok(SERVING))
    api.on("GET", EVENTS, ok({"events": [event(1)]}), ok({"events": [event(2), event(1)]}))
    result = run(api, "start", "wine", "--output", "json")
    assert result.exit_code == 0, result.output
    assert "message 2" in result.stderr
    assert "message 1" not in result.stderr
    assert json.loads(result.stdout) == SERVING


def waited(client: ApiClient, accepted: Json, seconds: float = 100.0) -> Json:
    """`wait_for_update` on a clock that its pauses move."""
    now = [0.0]

    def sleep(pause: float) -> None:
        now[0] += pause

    progress = Progress(client, "wine", lambda line: None)
    return wait_for_update(client, accepted, seconds, progress, clock=lambda: now[0], sleep=sleep)


def test_waiting_outlives_a_server_that_restarts(api: ScriptedApi, client: ApiClient) -> None:
    away = refusal(503, "TEMPORARILY_UNAVAILABLE", "The control plane is starting.")
    api.on("GET", WINE, ok(CREATING), away, away, ok(SERVING))
    assert waited(client, CREATING) == SERVING


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (detail(update="UPDATE_CANCELED", config=config(1, entity())), "the update was canceled"),
        (detail(config=config(1, entity())), "the update was canceled or rolled back"),
        (detail(update="UPDATE_FAILED", config=config(1, entity())), "the server gives no reason"),
        (detail(update="IN_PROGRESS", config=config(1, entity())), "not within 100 s; the update goes on"),
    ],
)
def test_an_update_that_did_not_happen_is_a_failure(
    api: ScriptedApi, client: ApiClient, later: Json, words: str
) -> None:
    api.on("GET", WINE, ok(later))
    accepted = detail(update="IN_PROGRESS", config=config(1, entity()), pending_config=config(2, entity()))
    with pytest.raises(UpdateFailed, match=f"^{words}$"):
        waited(client, accepted)


@pytest.mark.parametrize(
    "answer", [refusal(404, "RESOURCE_DOES_NOT_EXIST", "gone"), refusal(503, "TEMPORARILY_UNAVAILABLE", "away")]
)
def test_waiting_ends_when_the_endpoint_is_gone_or_the_server_is_for_good(
    api: ScriptedApi, client: ApiClient, answer: Answer
) -> None:
    api.on("GET", WINE, ok(CREATING), answer)
    with pytest.raises(ApiRefused):
        waited(client, CREATING, 1000)
    assert len([asked for asked in api.asked if asked.path == WINE]) < 50


def test_waiting_for_a_server_that_is_away_ends_with_the_time(api: ScriptedApi, client: ApiClient) -> None:
    api.on("GET", WINE, refusal(503, "TEMPORARILY_UNAVAILABLE", "away"))
    with pytest.raises(ApiRefused):
        waited(client, CREATING, 5)
    assert len(api.asked) < 10


def test_what_a_log_has_got_since() -> None:
    assert added("", "a\n") == "a\n"
    assert added("a\n", "a\nb\n") == "b\n"
    assert added("a\nb\n", "b\nc\n") == "b\nc\n"
    long = "x" * 5000 + "\n"
    assert added("a\n" + long, long + "c\n") == "c\n"


# update


def updated(current: Json, traffic: str | None = None, **options: Any) -> Json:
    """The body of an update; nothing is asked of a server."""
    nobody = ApiClient("http://127.0.0.1:9", TOKEN)
    return update_body(nobody, current, ServedEntityOptions(**options), traffic)


def test_an_update_keeps_what_is_not_given() -> None:
    served = entity(environment_vars={"A": "1", "B": "2"}, workload_size="Medium", scale_to_zero_enabled=True)
    body = updated(detail(config=config(1, served)), model="models:/main.default.wine/2", variables=("B=3",))
    assert body == {
        "served_entities": [
            {
                "entity_name": "main.default.wine",
                "entity_version": "2",
                "workload_size": "Medium",
                "workload_type": "CPU",
                "scale_to_zero_enabled": True,
                "environment_vars": {"A": "1", "B": "3"},
            }
        ]
    }


def test_a_name_that_was_chosen_is_kept_over_an_update() -> None:
    current = detail(config=config(1, entity("champion")))
    assert updated(current, model="models:/main.default.wine/2")["served_entities"][0]["name"] == "champion"
    assert updated(current, served_name="red")["served_entities"][0]["name"] == "red"


def test_the_two_ways_to_size_replace_each_other() -> None:
    sized = updated(SERVING, min_concurrency=4, max_concurrency=8)["served_entities"][0]
    assert "workload_size" not in sized
    ranged = entity(min_provisioned_concurrency=4, max_provisioned_concurrency=8)
    del ranged["workload_size"]
    back = updated(detail(config=config(1, ranged)), workload_size="Large")["served_entities"][0]
    assert back["workload_size"] == "Large"
    assert not [field for field in back if "provisioned" in field]


def test_of_several_entities_the_named_one_changes_and_the_traffic_stays() -> None:
    two = config(3, entity("a"), entity("b", "2"), a=90, b=10)
    body = updated(detail(config=two), served_name="b", model="models:/main.default.wine/3")
    assert [(one["name"], one["entity_version"]) for one in body["served_entities"]] == [("a", "1"), ("b", "3")]
    assert body["traffic_config"] == two["traffic_config"]
    for options in ({"workload_size": "Large"}, {"served_name": "c", "workload_size": "Large"}):
        with pytest.raises(BadConfiguration, match=r"serves 2 entities: .*--served-name \(a, b\)"):
            updated(detail(config=two), **options)


def test_traffic_alone_changes_nothing_else() -> None:
    two = config(3, entity("a"), entity("b", "2"), a=90, b=10)
    body = updated(detail(config=two), "a=100, b=0")
    assert body["traffic_config"] == {
        "routes": [
            {"served_model_name": "a", "traffic_percentage": 100},
            {"served_model_name": "b", "traffic_percentage": 0},
        ]
    }
    assert [one["name"] for one in body["served_entities"]] == ["a", "b"]


def test_an_update_begins_from_the_active_configuration_not_from_a_failed_one() -> None:
    current = detail(
        update="UPDATE_FAILED", config=config(1, entity()), pending_config=config(2, entity(workload_size="Large"))
    )
    assert updated(current, scale_to_zero=True)["served_entities"][0]["workload_size"] == "Small"
    never_served = detail("NOT_READY", "UPDATE_FAILED", pending_config=config(1, entity(workload_size="Large")))
    assert updated(never_served, scale_to_zero=True)["served_entities"][0]["workload_size"] == "Large"


# query


def test_a_query_is_sent_byte_for_byte(api: ScriptedApi) -> None:
    answer = {"predictions": [0.1, 1e300]}
    api.on("POST", "/serving-endpoints/wine/invocations", ok(answer))
    text = '{"dataframe_records": [{"x": 1.0, "big": 12345678901234567890}] }'
    result = run(api, "query", "wine", "--json", text)
    assert json.loads(result.stdout) == answer
    [sent] = api.asked
    assert sent.body == text.encode()
    assert sent.headers["content-type"] == "application/json"


def test_a_query_to_one_served_entity_has_its_own_path(api: ScriptedApi) -> None:
    api.on("POST", "/serving-endpoints/wine/served-models/b/invocations", ok({"predictions": []}))
    assert run(api, "query", "wine", "--served-model", "b", "--json", "-", input="{}").exit_code == 0


def open_api(media: Json) -> Answer:
    operation = {"post": {"requestBody": {"content": {"application/json": media}}}}
    return ok({"paths": {"/served-models/a/invocations": operation, "/served-models/b/invocations": {}}})


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ({"example": {"inputs": [[1]]}, "schema": {}}, {"inputs": [[1]]}),
        (
            {
                "schema": {
                    "oneOf": [
                        {"properties": {"dataframe_split": {}}, "examples": [{"columns": ["x"], "data": [[1]]}]},
                        {"properties": {"dataframe_records": {}}},
                    ]
                }
            },
            {"dataframe_split": {"columns": ["x"], "data": [[1]]}},
        ),
    ],
)
def test_the_example_is_that_of_the_open_api_document(api: ScriptedApi, media: Json, body: Json) -> None:
    api.on("GET", f"{WINE}/openapi", open_api(media))
    api.on("POST", "/serving-endpoints/wine/invocations", ok({"predictions": [1]}))
    assert run(api, "query", "wine", "--example").exit_code == 0
    assert api.changes()[0].document == body


def test_a_model_without_an_example_says_so(api: ScriptedApi) -> None:
    api.on("GET", f"{WINE}/openapi", open_api({"example": {"inputs": [1]}}))
    result = run(api, "query", "wine", "--example", "--served-model", "b")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: endpoint 'wine' has no input example; log the model with input_example")


# logs


def test_the_only_served_entity_need_not_be_named(api: ScriptedApi) -> None:
    api.on("GET", WINE, ok(SERVING))
    api.on("GET", LOGS, ok({"logs": "[aaaaa] one\r50%\n[bbbbb] two\n"}))
    result = run(api, "logs", "wine")
    assert result.stdout_bytes == b"[aaaaa] one\r50%\n[bbbbb] two\n"
    assert api.asked[-1].query == {}


def test_an_empty_log_prints_nothing(api: ScriptedApi) -> None:
    api.on("GET", LOGS, ok({"logs": ""}))
    assert run(api, "logs", "wine", "--served-model", "wine-1").stdout == ""


def test_with_several_served_entities_one_must_be_named(api: ScriptedApi) -> None:
    api.on("GET", WINE, ok(detail(config=config(3, entity("a"), entity("b"), a=50, b=50))))
    result = run(api, "build-logs", "wine")
    assert result.exit_code == 2
    assert result.stderr == "error: endpoint 'wine' serves several: give --served-model, one of a, b\n"


def test_an_older_configuration_is_found_in_the_history(api: ScriptedApi) -> None:
    api.on("GET", WINE, ok(detail(config=config(3, entity("wine-3"), entity("b"), b=100))))
    older = {"config_version": 1, "config": config(1, entity())}
    api.on("GET", f"{WINE}/config-versions", ok({"config_versions": [older]}))
    api.on("GET", BUILD, ok({"logs": "built\n"}))
    assert run(api, "build-logs", "wine", "--config-version", "1").stdout == "built\n"
    assert api.asked[-1].query == {"config_version": "1"}
    result = run(api, "build-logs", "wine", "--config-version", "2")
    assert (result.exit_code, result.stderr) == (2, "error: endpoint 'wine' has no configuration version 2\n")


def test_one_replicas_lines_come_without_its_tag(api: ScriptedApi) -> None:
    files = [{"replica": "aaaaa1111111", "tag": "aaaaa"}, {"replica": "bbbbb2222222", "tag": "bbbbb"}]
    api.on("GET", f"{WINE}/served-models/wine-1/log-files", ok({"log_files": files}))
    api.on("GET", LOGS, ok({"logs": "[aaaaa] one\n[bbbbb] two\n[aaaaa]   [bbbbb] three\n"}))
    arguments = ["logs", "wine", "--served-model", "wine-1", "--replica"]
    assert run(api, *arguments, "aaaaa").stdout == "one\n  [bbbbb] three\n"
    assert run(api, *arguments, "bbbbb2222222").stdout == "two\n"
    result = run(api, *arguments, "ccccc")
    assert (result.exit_code, result.stderr) == (
        2, "error: no log of a replica 'ccccc'; there are logs of: aaaaa, bbbbb\n"
    )  # fmt: skip


def test_following_prints_lines_and_goes_on_where_a_connection_broke(api: ScriptedApi) -> None:
    api.on(
        "GET",
        f"{LOGS}/stream",
        stream("retry: 1\n\n", "event: line\nid: 1\nda", "ta: one\n\nevent: line\nid: 2\ndata: cut o"),
        refusal(503, "TEMPORARILY_UNAVAILABLE", "The control plane is starting."),
        stream("event: line\ndata: two\nid: 2\n\n", "event: end\ndata: {}\n\n"),
    )
    result = run(api, "logs", "wine", "--served-model", "wine-1", "--follow", "--replica", "aaaaa")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    assert [asked.headers.get("last-event-id") for asked in api.asked] == [None, "1", "1"]
    assert {tuple(asked.query.items()) for asked in api.asked} == {(("replica", "aaaaa"),)}


@pytest.mark.parametrize("chunked", [True, False])
def test_a_line_is_there_before_the_next_is_written(api: ScriptedApi, client: ApiClient, chunked: bool) -> None:
    taken = threading.Event()
    one, end = "event: line\ndata: one\n\n", "event: end\ndata: {}\n\n"
    api.on("GET", "/stream", stream(one, taken, end, chunked=chunked))
    followed = client.stream("/stream")
    began = time.monotonic()
    assert next(followed) == Event("line", "one")
    assert time.monotonic() - began < 10
    taken.set()
    assert [event.name for event in followed] == ["end"]


@pytest.mark.parametrize(("status", "code"), [(404, "RESOURCE_DOES_NOT_EXIST"), (503, "TEMPORARILY_UNAVAILABLE")])
def test_following_ends_when_it_is_refused(api: ScriptedApi, status: int, code: str) -> None:
    api.on("GET", f"{LOGS}/stream", refusal(status, code, "No."))
    result = run(api, "logs", "wine", "--served-model", "wine-1", "-f")
    assert (result.exit_code, len(api.asked)) == (1, 1)


def test_following_gives_up_on_a_server_that_says_nothing_more(api: ScriptedApi, client: ApiClient) -> None:
    api.on("GET", "/stream", stream("event: line\nid: 1\ndata: one\n\n"), stream())
    followed = client.stream("/stream")
    assert next(followed) == Event("line", "one", "1")
    with pytest.raises(Unreachable, match="closed the stream"):
        next(followed)
    assert len(api.asked) == 7


def test_what_is_no_stream_is_not_followed(api: ScriptedApi, client: ApiClient) -> None:
    api.on("GET", "/stream", ok({}))
    with pytest.raises(Unreachable, match=r"is no event stream$"):
        list(client.stream("/stream"))
    assert len(api.asked) == 1


# events


def test_events_are_printed_oldest_first(api: ScriptedApi) -> None:
    later = event(2, status="FAILED", message="first line\nsecond", served_entity_name=None)
    api.on("GET", EVENTS, ok({"events": [later, event(1)]}))
    result = run(api, "events", "wine", "--limit", "2", "--served-model", "wine-1")
    assert result.stdout == (
        "2023-11-14 22:13:20  SUCCESS  SERVED_ENTITY_READY  wine-1  message 1\n"
        "2023-11-14 22:13:20  FAILED   SERVED_ENTITY_READY  -  first line\n"
        "    second\n"
    )
    assert api.asked[0].query == {"page_size": "2", "served_entity_name": "wine-1"}


def test_events_are_followed_from_the_newest_that_was_printed(api: ScriptedApi) -> None:
    api.on("GET", EVENTS, ok({"events": [event(2), event(1)]}))
    data = json.dumps(event(3))
    api.on("GET", f"{EVENTS}/stream", stream(f"event: event\nid: 3\ndata: {data}\n\nevent: end\ndata: {{}}\n\n"))
    result = run(api, "events", "wine", "--follow", "--output", "json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [1, 2, 3]
    assert api.asked[1].headers["last-event-id"] == "2"


# delete, stop


def test_delete_and_stop_say_what_they_did(api: ScriptedApi) -> None:
    api.on("DELETE", WINE, ok({}))
    api.on("POST", f"{WINE}/config:stop", ok({**SERVING, "stopped": True}))
    assert run(api, "delete", "wine", "--yes").stdout == "Endpoint wine is deleted\n"
    assert run(api, "delete", "wine", "--yes", "-o", "json").stdout == "{}\n"
    assert run(api, "stop", "wine").stdout.startswith("Endpoint wine is stopped;")
    assert json.loads(run(api, "stop", "wine", "-o", "json").stdout)["stopped"] is True


# Event streams

_FIELD_TEXT = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=8)


@given(
    sent=st.lists(st.tuples(_FIELD_TEXT, st.lists(_FIELD_TEXT, min_size=1, max_size=3)), max_size=5),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    size=st.integers(1, 40),
)
def test_events_are_the_same_however_their_bytes_arrive(
    sent: list[tuple[str, list[str]]], end: str, size: int
) -> None:
    parts = [
        f"event: line{end}id: {identity}{end}" + "".join(f"data: {line}{end}" for line in lines) + end
        for identity, lines in sent
    ]
    # A comment after the last event: until it comes, a closing CR may be half a line's end.
    text = ("".join(parts) + f": alive{end}").encode()
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(EventReader().events(chunks)) == [
        Event("line", "\n".join(lines), identity) for identity, lines in sent
    ]


def test_an_event_counts_once_it_is_whole() -> None:
    reader = EventReader()
    assert list(reader.events([b"id: 5\n\nid: 6\ndata: half\n"])) == []
    assert reader.last_id == "5"
    assert list(reader.events([b"data: whole\n\n"])) == [Event("message", "whole", "5")]


def test_an_endless_line_is_not_kept() -> None:
    with pytest.raises(BadStream):
        list(EventReader().events([b"data: ", *([b"x" * 65536] * (MOST_LINE_BYTES // 65536))]))


# Output


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;c2VjcmV0\nnext line", "\nnext line"),
        ("\x1bP1$r0m\x1b\\after", "after"),
        ("\x9b31mred\x9d0;title\x9cafter", "redafter"),
        ("\x1bc\x1b(Bafter\x1b", "after"),
        ("10%\r20%\r\nback\x08space\x00\x7f", "10%\n20%\nbackspace"),
        ("evil\u202etxt\u2066\u2028", "eviltxt"),
        ("tab\tBjörn 東京　👩‍🔬", "tab\tBjörn 東京　👩‍🔬"),
    ],
)
def test_a_terminal_gets_no_control_characters(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    assert harmless(text) == shown
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    output.write(text)
    assert terminal.getvalue() == shown + "\n"


def test_a_file_gets_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    output.write("\x1b[31mred\x1b[0m")
    assert file.getvalue() == "\x1b[31mred\x1b[0m\n"


def test_characters_that_the_output_cannot_have_are_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    output.write("ø 東 \ud800")
    assert raw.getvalue() == b"\xf8 \\u6771 \\ud800\n"


# Completion and help


class Completing(typer.Context):
    """What a shell has on its line so far."""

    def __init__(self, **params: Any) -> None:
        self.params = params


def test_names_are_completed(api: ScriptedApi) -> None:
    api.on("GET", ALL, ok({"endpoints": [{"name": "wine"}, {"name": "wind"}, {"name": "beer"}]}))
    api.on("GET", WINE, ok(detail(config=config(1, entity("a")), pending_config=config(2, entity("b")))))
    where = {"host": api.url, "token": TOKEN}
    assert completion.endpoint_names(Completing(**where), "wi") == ["wine", "wind"]
    assert completion.served_names(Completing(**where, name="wine"), "") == ["a", "b"]
    assert completion.served_names(Completing(**where), "") == []


@pytest.mark.parametrize("host", ["http://127.0.0.1:9", "not a url", None])
def test_completion_is_silent_without_a_server(host: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    assert completion.endpoint_names(Completing(host=host, token=TOKEN), "") == []
    assert capfd.readouterr() == ("", "")


def test_help_is_tidy() -> None:
    whole = CliRunner().invoke(app, ["--help"]).stdout
    group = CliRunner().invoke(app, ["endpoints", "--help"]).stdout
    assert "  endpoints  Create, query and look after serving endpoints\n" in whole
    assert "--install-completion" in whole
    commands = ["list", "get", "create", "update", "delete", "start", "stop", "query", "logs", "build-logs", "events"]
    listed_commands = [line.split()[0] for line in group.partition("Commands:\n")[2].splitlines()]
    assert listed_commands == commands
    documented = Path(__file__).parents[2].joinpath("docs", "cli.md").read_text(encoding="utf-8")
    assert [command for command in commands if f"`{command} NAME`" not in documented] == ["list"]
    # The short help of a command is cut where it is too long.
    assert "..." not in group.partition("Commands:")[2]
    for command in commands:
        text = CliRunner().invoke(app, ["endpoints", command, "--help"]).stdout
        assert max(map(len, text.splitlines())) <= 80
        assert "─" not in text
