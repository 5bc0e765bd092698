"""What gateways are told of endpoints of external models, with the reconciler on a real database."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, ENCRYPTION_KEY, ENDPOINTS, ControlPlane, control_plane, entity
from test_control_external_models import (
    CHAT,
    PROVIDERS,
    REFERENCE,
    TEXT,
    create,
    external,
    of_provider,
    ok,
    put,
    put_gateway,
    served,
)
from test_reconciler import Running, running

from moorage.api.routing import (
    Availability,
    CaptureRoute,
    EndpointRoute,
    ExternalRoute,
    RoutingTaken,
    credential_purpose,
)
from moorage.control.reconciler import reconciler as reconciler_module
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint, User
from moorage.encryption import Encryption
from moorage.telemetry.entity_log import DELETION_KIND, ENTITIES_KIND, EntityRecord, decode_deletion, decode_entities
from moorage.telemetry.spool import Record, read_segment

SECRET = {"scope": "my_scope", "key": "my_openai_api_key"}
GONE = f"The secret {REFERENCE} of credential openai_api_key cannot be read: it does not exist."


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told within a bound is told at all: on a busy machine the bound itself is not what is tested."""
    if request.function is not test_an_answer_does_not_wait_for_long_for_a_silent_gateway:
        monkeypatch.setattr(reconciler_module, "_ROUTED_SECONDS", 20.0)
        monkeypatch.setattr(reconciler_module, "_TAKEN_SECONDS", 30.0)


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    with control_plane(tmp_path) as one:
        secrets(one, "scopes/create", scope="my_scope")
        secrets(one, "put", **SECRET, string_value=TEXT)
        yield one


def secrets(plane: ControlPlane, path: str, **body: str) -> None:
    ok(plane.request("POST", f"/api/2.0/secrets/{path}", ANN, json=body))


async def routed(run: Running, endpoint_id: str, name: str = "llm") -> EndpointRoute:
    """The route, as soon as the answer to a change would go out."""
    await asyncio.to_thread(run.reconciler.wait_until_routed, endpoint_id)
    route = run.route(name)
    assert route is not None
    return route


def models(route: EndpointRoute) -> list[ExternalRoute]:
    found = [one.external for one in route.served]
    assert None not in found
    return [one for one in found if one is not None]


def credentials(route: EndpointRoute, number: int = 0) -> dict[str, str]:
    """What the gateway opens."""
    encryption, purpose = Encryption(ENCRYPTION_KEY), credential_purpose(route.id)
    return {name: encryption.open(purpose, token) for name, token in models(route)[number].credentials.items()}


def test_the_route_is_there_when_the_answer_goes_out(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            gateway = {
                "fallback_config": {"enabled": True},
                "guardrails": {"input": {"invalid_keywords": ["x"]}},
                "usage_tracking_config": {"enabled": True},
            }
            entities = external("a"), external("b", openai_api_key=REFERENCE, openai_api_type="OpenAI")
            identifier = create(plane, config=served(*entities, a=100), ai_gateway=gateway)["id"]
            route = await routed(run, identifier)
            ids = plane.deployment_ids(identifier)
            assert route.availability is Availability.SERVING
            assert (route.task, route.config_version, route.usage, route.fallback) == (CHAT, 1, True, True)
            assert route.guardrails is not None
            assert route.guardrails.input is not None
            assert route.guardrails.input.invalid_keywords == ("x",)
            assert [(one.name, one.id, one.entity, one.version, one.traffic_percentage) for one in route.served] == [
                ("a", ids["a"], "gpt-4.1", "", 100),
                ("b", ids["b"], "gpt-4.1", "", 0),
            ]
            assert [one.options for one in models(route)] == [{}, {"openai_api_type": "openai"}]
            assert [one.problem for one in models(route)] == ["", ""]
            assert credentials(route, 0) == credentials(route, 1) == {"openai_api_key": TEXT}
            assert run.compute.started == []
            assert run.detail("llm")["state"]["ready"] == "READY"

    asyncio.run(scenario())


def test_nothing_secret_is_in_the_snapshot_on_disk(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            create(plane, config=served(external("a"), external("b", openai_api_key=REFERENCE), a=100))
            run.reconciler.endpoint_changed(run.detail("llm")["id"])
            await run.until(lambda: plane.data.snapshot.exists() and b'"llm"' in plane.data.snapshot.read_bytes())
            assert TEXT.encode() not in plane.data.snapshot.read_bytes()

    asyncio.run(scenario())


def test_options_and_credentials_go_by_the_names_of_the_api(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            for provider, (field, config) in PROVIDERS.items():
                endpoint = create(plane, of_provider(provider, field, config), name=f"by-{provider}")
                route = await routed(run, endpoint["id"], endpoint["name"])
                options = {key: value for key, value in config.items() if not key.endswith("_plaintext")}
                assert (models(route)[0].provider, models(route)[0].options) == (provider, options)
                assert credentials(route) == {
                    key.removesuffix("_plaintext"): value for key, value in config.items() if key not in options
                }

    asyncio.run(scenario())


def test_a_custom_provider_has_its_header_or_its_token(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            url, header = {"custom_provider_url": "https://llm.example.com/v1"}, {"api_key_header": "x-key"}
            for number, (way, auth, options, credential) in enumerate(
                (
                    ("api_key_auth", {"key": "x-key", "value_plaintext": TEXT}, header, "api_key_value"),
                    ("api_key_auth", {"key": "x-key", "value": REFERENCE}, header, "api_key_value"),
                    ("bearer_token_auth", {"token": REFERENCE}, {}, "bearer_token"),
                    ("bearer_token_auth", {"token_plaintext": TEXT}, {}, "bearer_token"),
                )
            ):
                given = of_provider("custom", "custom_provider_config", {**url, way: auth})
                endpoint = create(plane, given, name=f"custom-{number}")
                route = await routed(run, endpoint["id"], endpoint["name"])
                assert models(route)[0].options == {**url, **options}
                assert credentials(route) == {credential: TEXT}

    asyncio.run(scenario())


def test_a_route_that_says_the_same_is_not_told_again(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            entities = external("a"), external("b", openai_api_key=REFERENCE)
            identifier = create(plane, config=served(*entities, a=100))["id"]
            before = await routed(run, identifier)
            number = run.publisher.snapshot().number
            secrets(plane, "put", scope="my_scope", key="other", string_value="x")
            await asyncio.to_thread(run.reconciler.secrets_changed, "my_scope")
            assert await routed(run, identifier) == before
            assert run.publisher.snapshot().number == number
            ok(put(plane, served(*entities, external("c", openai_api_key_plaintext="sk-c"), a=100)))
            after = await routed(run, identifier)
            assert after.served[:2] == before.served
            assert credentials(after, 2) == {"openai_api_key": "sk-c"}
            assert after.config_version == 2

    asyncio.run(scenario())


def test_an_update_is_routed_at_once_and_what_it_replaces_leaves_no_work(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane)["id"]
            await routed(run, identifier)
            ok(put(plane, served(external(model="gpt-5"))))
            route = await routed(run, identifier)
            assert [one.entity for one in route.served] == ["gpt-5"]
            with reading(plane.sessions) as session:
                phases = [one.phase for one in session.query(Deployment).order_by(Deployment.creation_timestamp)]
            assert sorted(phases) == ["READY", "RETIRED"]
            assert run.events(identifier) == [
                "ENDPOINT_EVENT",
                "CONFIG_UPDATE_SUCCEEDED",
                "CONFIG_UPDATE_ACCEPTED",
                "CONFIG_UPDATE_SUCCEEDED",
            ]

    asyncio.run(scenario())


def test_a_secret_that_changes_is_in_the_route_when_the_change_is_answered(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane, external(openai_api_key=REFERENCE))["id"]
            await routed(run, identifier)

            async def changed(path: str, **body: str) -> EndpointRoute:
                secrets(plane, path, **body)
                await asyncio.to_thread(run.reconciler.secrets_changed, "my_scope")
                route = run.route("llm")
                assert route is not None
                return route

            assert credentials(await changed("put", **SECRET, string_value="sk-new")) == {"openai_api_key": "sk-new"}
            route = await changed("delete", **SECRET)
            assert (models(route)[0].problem, models(route)[0].credentials) == (GONE, {})
            assert route.availability is Availability.SERVING, "the endpoint stays"
            await run.until(lambda: run.events(identifier).count("CREDENTIALS_UNREADABLE") == 1)
            state = run.detail("llm")["config"]["served_entities"][0]["state"]
            assert state == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": GONE}
            assert models(await routed(run, identifier))[0].problem == GONE
            assert run.events(identifier).count("CREDENTIALS_UNREADABLE") == 1, "it is told once"
            assert GONE in run.messages(identifier)
            route = await changed("put", **SECRET, string_value="sk-back")
            assert (credentials(route), models(route)[0].problem) == ({"openai_api_key": "sk-back"}, "")
            await run.until(lambda: run.events(identifier)[-1] == "CREDENTIALS_READABLE")
            state = run.detail("llm")["config"]["served_entities"][0]["state"]
            assert state["deployment_state_message"] == ""
            for message in run.messages(identifier):
                assert "sk-" not in message

    asyncio.run(scenario())


def test_a_creator_who_may_not_read_any_more_stops_the_use_of_a_secret(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane, external(openai_api_key=REFERENCE))["id"]
            await routed(run, identifier)
            acl = {"scope": "my_scope", "principal": ADMIN.user_name, "permission": "MANAGE"}
            secrets(plane, "acls/put", **acl)
            body = {"scope": "my_scope", "principal": ANN.user_name}
            ok(plane.request("POST", "/api/2.0/secrets/acls/delete", ADMIN, json=body))
            await asyncio.to_thread(run.reconciler.secrets_changed, "my_scope")
            route = run.route("llm")
            assert route is not None
            assert "does not have READ permission on secret scope 'my_scope'" in models(route)[0].problem
            ok(plane.request("POST", "/api/2.0/secrets/acls/put", ADMIN, json={**body, "permission": "READ"}))
            await asyncio.to_thread(run.reconciler.secrets_changed, "my_scope")
            route = run.route("llm")
            assert route is not None
            assert credentials(route) == {"openai_api_key": TEXT}
            with plane.sessions.begin() as session:
                session.get_one(User, ANN.id).active = False
            await asyncio.to_thread(run.reconciler.principals_changed)
            await run.until(lambda: "not active any more" in models(run.route("llm"))[0].problem)  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_other_scopes_wake_nobody(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            await routed(run, create(plane, external(openai_api_key=REFERENCE))["id"])
            passes = [one._passes_begun for one in run.reconciler._controllers.values()]
            await asyncio.to_thread(run.reconciler.secrets_changed, "other")
            assert [one._passes_begun for one in run.reconciler._controllers.values()] == passes

    asyncio.run(scenario())


def test_a_text_that_another_key_sealed_is_a_problem_and_no_failure(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane)["id"]
            with plane.sessions.begin() as session:
                row = session.query(Deployment).one()
                sealed = Encryption(bytes(32)).seal(f"external-model/{identifier}", TEXT)
                row.spec = {**row.spec, "sealed": {"openai_api_key": sealed}}
            route = await routed(run, identifier)
            assert "cannot be decrypted" in models(route)[0].problem
            ok(put(plane, served(external())))
            assert credentials(await routed(run, identifier)) == {"openai_api_key": TEXT}

    asyncio.run(scenario())


def test_an_answer_does_not_wait_for_long_for_a_silent_gateway(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            stream = run.publisher.follow("gateway-1")
            await anext(stream)
            identifier = create(plane)["id"]
            began = time.monotonic()
            await asyncio.to_thread(run.reconciler.wait_until_routed, identifier)
            assert 0.4 < time.monotonic() - began < 2.0
            waiting = asyncio.create_task(asyncio.to_thread(run.reconciler.wait_until_routed, identifier))
            number, life = run.publisher.snapshot().number, run.publisher.life
            run.publisher.taken(RoutingTaken(gateway="gateway-1", life=life, number=number))
            began = time.monotonic()
            await waiting
            assert time.monotonic() - began < 0.4
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_a_restarted_control_plane_goes_on(plane: ControlPlane) -> None:
    async def scenario() -> None:
        identifier = create(plane, config=served(external("a"), external("b", openai_api_key=REFERENCE), a=100))["id"]
        for _ in range(2):
            async with running(plane) as run:
                await run.until(lambda run=run: run.route("llm"))
                route = await routed(run, identifier)
                assert credentials(route, 0) == credentials(route, 1) == {"openai_api_key": TEXT}
                assert len(run.events(identifier)) == 2

    asyncio.run(scenario())


def test_deleting_takes_the_route_away_and_then_the_rows(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane)["id"]
            await routed(run, identifier)
            ok(plane.request("DELETE", f"{ENDPOINTS}/llm"))
            run.reconciler.endpoint_changed(identifier)
            await run.until(lambda: run.route("llm") is None)

            def rows() -> int:
                with reading(plane.sessions) as session:
                    return session.query(Endpoint).count() + session.query(Deployment).count()

            await run.until(lambda: rows() == 0)

    asyncio.run(scenario())


def test_an_endpoint_that_had_a_failed_custom_model_may_serve_an_external_one(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.builder.gate = asyncio.Event()
            identifier = run.create(name="llm")
            await run.until(lambda: run.builder.builds == 1)
            ok(plane.request("POST", f"{ENDPOINTS}/llm/config:cancel"))
            ok(put(plane, served(external())))
            route = await routed(run, identifier)
            assert [one.entity for one in route.served] == ["gpt-4.1"]
            assert route.availability is Availability.SERVING
            run.builder.gate.set()
            await run.until(lambda: "RETIRED" in _phases(plane))

    asyncio.run(scenario())


def _phases(plane: ControlPlane) -> list[str]:
    with reading(plane.sessions) as session:
        return [one.phase for one in session.query(Deployment)]


# What custom models have of it


def test_custom_models_have_ids_versions_tables_and_usage(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            place = {"catalog_name": "main", "schema_name": "logs"}
            config = {"served_entities": [entity()], "auto_capture_config": {**place, "table_name_prefix": "older"}}
            table = {**place, "enabled": True}
            gateway = {"inference_table_config": table, "usage_tracking_config": {"enabled": True}}
            half = {"sampling_fraction": 0.5}
            telemetry = {"table_names": {"logs_table": "a.b.logs"}, "inference_table_config": half}
            identifier = run.create(config=config, ai_gateway=gateway, telemetry_config=telemetry)
            await run.ready()
            await run.until(lambda: (run.route() or run.route()).config_version == 1)  # type: ignore[union-attr]
            route = run.route()
            assert route is not None
            [one] = route.served
            assert (one.id, one.entity, one.version) == (plane.deployment_ids(identifier)["ads1-1"], "ads1", "1")
            assert (one.external, route.task, route.usage, route.fallback) == (None, None, True, False)
            assert route.captures == (
                CaptureRoute(table="main.logs.older_payload", legacy=True),
                CaptureRoute(table="main.logs.ads_payload"),
                CaptureRoute(table="a.b.logs_payload", sampling_fraction=0.5),
            )

    asyncio.run(scenario())


def test_gateway_settings_of_an_external_model_reach_its_route(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane)["id"]
            assert (await routed(run, identifier)).captures == ()
            place = {"catalog_name": "main", "schema_name": "logs", "enabled": True}
            ok(put_gateway(plane, {"inference_table_config": place, "usage_tracking_config": {"enabled": True}}))
            route = await routed(run, identifier)
            assert (route.captures, route.usage) == ((CaptureRoute(table="main.logs.llm_payload"),), True)
            ok(put_gateway(plane, {}))
            route = await routed(run, identifier)
            assert (route.captures, route.usage) == ((), False)

    asyncio.run(scenario())


def written(plane: ControlPlane, kind: int) -> list[Record]:
    """What the control plane has left for the writer of the tables."""
    segments = sorted(plane.data.spool.glob("*.segment"))
    return [one for path in segments for one in read_segment(path)[0] if one.kind == kind]


def entities(plane: ControlPlane) -> list[EntityRecord]:
    return [entity for record in written(plane, ENTITIES_KIND) for entity in decode_entities(record)]


def test_served_entities_are_written_down_for_their_table_with_each_version_and_again_after_a_restart(
    plane: ControlPlane,
) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            identifier = create(plane, external("a"))["id"]
            await routed(run, identifier)
            (first,) = entities(plane)
            assert (first.endpoint_id, first.endpoint_name, first.endpoint_config_version) == (identifier, "llm", 1)
            assert first.served_entity_id == plane.deployment_ids(identifier)["a"]
            assert (first.entity_type, first.entity_name, first.provider) == ("EXTERNAL_MODEL", "gpt-4.1", "openai")
            await routed(run, identifier)
            assert len(entities(plane)) == 1, "a pass that changes nothing writes nothing"
            ok(put(plane, served(external("b"))))
            await routed(run, identifier)
            (second,) = entities(plane)[1:]
            assert (second.served_entity_name, second.endpoint_config_version) == ("b", 2)
        async with running(plane) as run:
            assert [one.served_entity_name for one in entities(plane)[2:]] == ["b"], "what was lost is there again"
            ok(plane.request("DELETE", f"{ENDPOINTS}/llm", ANN))
            run.reconciler.endpoint_changed(identifier)
            await run.until(lambda: bool(written(plane, DELETION_KIND)))
            assert decode_deletion(written(plane, DELETION_KIND)[0]).endpoint_id == identifier

    asyncio.run(scenario())
