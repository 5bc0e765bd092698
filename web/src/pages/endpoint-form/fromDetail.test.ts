import { describe, expect, it } from "vitest";
import type { EndpointDetail, ServedEntityOutput } from "../../api/schema";
import { createCall, updateCalls } from "./documents";
import { configToEdit, fromDetail } from "./fromDetail";
import { lacksCredential } from "./providers";

const served = (given: Partial<ServedEntityOutput>): ServedEntityOutput => ({
  name: "iris-1",
  creator: "a",
  creation_timestamp: 1,
  state: { deployment: "DEPLOYMENT_READY", deployment_state_message: "" },
  ...given,
});
const custom = (given: Partial<ServedEntityOutput> = {}) =>
  served({
    entity_name: "main.default.iris",
    entity_version: "1",
    workload_size: "Small",
    workload_type: "CPU",
    scale_to_zero_enabled: false,
    ...given,
  });

function detail(entities: ServedEntityOutput[], given: Partial<EndpointDetail> = {}): EndpointDetail {
  const share = Math.floor(100 / entities.length);
  return {
    name: "e",
    id: "1",
    creator: "a",
    creation_timestamp: 1,
    last_updated_timestamp: 1,
    description: "",
    tags: [],
    permission_level: "CAN_MANAGE",
    route_optimized: false,
    state: { ready: "READY", config_update: "NOT_UPDATING", update_state: "NOT_UPDATING" },
    config: {
      config_version: 1,
      served_entities: entities,
      traffic_config: {
        routes: entities.map(({ name }) => ({ served_entity_name: name, served_model_name: name, traffic_percentage: share })),
      },
    },
    ...given,
  };
}

describe("an endpoint in the form", () => {
  it("asks for no change as it is", () => {
    const sized = custom({ name: "other", max_provisioned_concurrency: 8, min_provisioned_concurrency: 4, workload_size: null });
    const shown = detail([custom({ environment_vars: { A: "1" }, instance_profile_arn: "arn" }), sized], {
      ai_gateway: { rate_limits: [{ calls: 3, key: "user", renewal_period: "minute" }], usage_tracking_config: { enabled: false } },
      tags: [{ key: "a", value: "b" }],
      email_notifications: { on_update_failure: ["a@b.c"] },
    });
    expect(updateCalls("e", fromDetail(shown), fromDetail(shown))).toEqual([]);
  });

  it("keeps what the form has no field for", () => {
    const body = createCall(fromDetail(detail([custom({ instance_profile_arn: "arn" })]))).body;
    expect(body).toHaveProperty("config.served_entities.0.instance_profile_arn", "arn");
  });

  it("lets a default name follow the version, and a chosen one stay", () => {
    const values = fromDetail(detail([custom(), custom({ name: "champion" })]));
    expect(values.entities.map((one) => one.name)).toEqual(["", "champion"]);
  });

  it("shows what is on its way only while it is, or where nothing else is", () => {
    const pending = { ...detail([custom({ entity_version: "2" })]).config!, start_time: 1 };
    const active = detail([custom()], { pending_config: pending });
    expect(configToEdit(active)).toBe(active.config);
    const state = { ready: "READY", config_update: "IN_PROGRESS", update_state: "IN_PROGRESS" } as const;
    expect(configToEdit({ ...active, state })).toBe(pending);
    expect(configToEdit({ ...active, config: null })).toBe(pending);
  });

  it("knows a key that the server has and does not show", () => {
    const model = { name: "gpt-4o", provider: "openai", task: "llm/v1/chat", openai_config: { openai_api_base: "http://x" } } as const;
    const kept = fromDetail(detail([served({ name: "entity", external_model: model })])).entities[0]!;
    expect(lacksCredential(kept)).toBe(true);
    const otherwise = { ...kept.external, options: { openai_api_type: "azuread" } };
    otherwise.credentials.microsoft_entra_client_secret = { source: "text", value: "s" };
    expect(lacksCredential({ ...kept, external: otherwise })).toBe(false); // which is asked for another key
    expect(kept.external.options).toEqual({ openai_api_base: "http://x" });
    const withSecret = { ...model, openai_config: { openai_api_key: "{{secrets/s/k}}" } };
    const known = fromDetail(detail([served({ external_model: withSecret })])).entities[0]!;
    expect(lacksCredential(known)).toBe(false);
    expect(known.external.credentials.openai_api_key).toEqual({ source: "secret", value: "{{secrets/s/k}}" });
  });

  it("reads the credential of a provider of one's own back", () => {
    const config = { custom_provider_url: "http://x", api_key_auth: { key: "x-api-key", value: "{{secrets/s/k}}" } };
    const model = { name: "m", provider: "custom", task: "llm/v1/chat", custom_provider_config: config } as const;
    const shown = detail([served({ external_model: model })]);
    expect(createCall(fromDetail(shown)).body).toHaveProperty("config.served_entities.0.external_model.custom_provider_config", config);
  });

  it("tells provisioned throughput by what is not said of compute", () => {
    const shown = detail([served({ entity_name: "system.ai.m", entity_version: "1", provisioned_model_units: 2 })]);
    expect(fromDetail(shown).entities[0]).toMatchObject({ kind: "throughput", throughputIn: "units", modelUnits: 2 });
  });
});
