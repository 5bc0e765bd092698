import { describe, expect, it } from "vitest";
import { createCall, hasExtensions, updateCalls, withoutKeys } from "./documents";
import { type EntityValues, evenShares, newEntity, newExternal, newValues, without } from "./values";

const iris = (given: Partial<EntityValues> = {}) => newEntity("custom", { entityName: "main.default.iris", entityVersion: "1", ...given });
const openai = (given: Partial<EntityValues["external"]> = {}) =>
  newEntity("external", {
    external: {
      ...newExternal(),
      model: "gpt-4o",
      credentials: { openai_api_key: { source: "secret", value: "{{secrets/s/k}}" } },
      ...given,
    },
  });
const throughput = (given: Partial<EntityValues> = {}) =>
  newEntity("throughput", { entityName: "system.ai.m", entityVersion: "1", modelUnits: 2, ...given });

describe("the body that creates an endpoint", () => {
  it("has nothing but what was chosen", () => {
    const call = createCall(newValues({ name: " mine ", entities: [iris()] }));
    expect(call).toEqual({
      part: "create",
      method: "POST",
      path: "/api/2.0/serving-endpoints",
      body: {
        name: "mine",
        config: {
          served_entities: [
            {
              entity_name: "main.default.iris",
              entity_version: "1",
              workload_size: "Small",
              workload_type: "CPU",
              scale_to_zero_enabled: false,
            },
          ],
        },
      },
    });
  });

  it("names every entity, and its share, where there are several", () => {
    const byRange = { size: "range", minConcurrency: 4, maxConcurrency: 12 } as const;
    const entities = [iris({ traffic: 70 }), iris({ entityVersion: "2", name: "second", traffic: 30, ...byRange })];
    expect(createCall(newValues({ name: "two", entities })).body).toMatchObject({
      config: {
        served_entities: [{ name: "iris-1" }, { name: "second", min_provisioned_concurrency: 4, max_provisioned_concurrency: 12 }],
        traffic_config: {
          routes: [
            { served_entity_name: "iris-1", traffic_percentage: 70 },
            { served_entity_name: "second", traffic_percentage: 30 },
          ],
        },
      },
    });
  });

  it("leaves out environment variables of which nothing was typed", () => {
    const variables = [
      { id: "1", name: "A", value: "{{secrets/s/k}}" },
      { id: "2", name: " ", value: "" },
      { id: "3", name: "", value: "its name was forgotten" },
    ];
    const body = createCall(newValues({ name: "e", entities: [iris({ variables })] })).body;
    expect(body).toHaveProperty("config.served_entities.0.environment_vars", {
      A: "{{secrets/s/k}}",
      "": "its name was forgotten",
    });
  });

  it("gives an external model its provider's configuration and nothing of a custom one", () => {
    const body = createCall(newValues({ name: "e", entities: [openai({ options: { openai_api_base: "http://x/v1" } })] })).body;
    expect(body).toEqual({
      name: "e",
      config: {
        served_entities: [
          {
            external_model: {
              name: "gpt-4o",
              provider: "openai",
              task: "llm/v1/chat",
              openai_config: { openai_api_key: "{{secrets/s/k}}", openai_api_base: "http://x/v1" },
            },
          },
        ],
      },
    });
  });

  it("asks only for what the chosen way of authentication has", () => {
    const options = { auth: "api_key_auth", custom_provider_url: "http://x", "api_key_auth.key": "x-api-key" };
    const credentials = {
      "api_key_auth.value": { source: "text", value: "k" },
      "bearer_token_auth.token": { source: "text", value: "other" },
    } as const;
    const body = createCall(newValues({ name: "e", entities: [openai({ provider: "custom", options, credentials })] })).body;
    expect(body).toHaveProperty("config.served_entities.0.external_model.custom_provider_config", {
      custom_provider_url: "http://x",
      api_key_auth: { key: "x-api-key", value_plaintext: "k" },
    });
  });

  it("sends Bedrock's provider also where nobody chose one", () => {
    const bedrock = openai({ provider: "amazon-bedrock", options: { aws_region: "us-east-1" }, credentials: {} });
    const body = createCall(newValues({ name: "e", entities: [bedrock] })).body;
    expect(body).toHaveProperty("config.served_entities.0.external_model.amazon_bedrock_config", {
      aws_region: "us-east-1",
      bedrock_provider: "anthropic",
    });
  });

  it("goes to the route of provisioned throughput with model units, and to the other with tokens", () => {
    const units = createCall(newValues({ name: "e", description: "d", entities: [throughput()] }));
    expect(units.path).toBe("/api/2.0/serving-endpoints/pt");
    expect(units.body).toEqual({
      name: "e",
      config: { served_entities: [{ entity_name: "system.ai.m", entity_version: "1", provisioned_model_units: 2 }] },
    });
    const inTokens = throughput({ throughputIn: "tokens", minThroughput: 0, maxThroughput: 200 });
    const tokens = createCall(newValues({ name: "e", entities: [inTokens] }));
    expect(tokens.path).toBe("/api/2.0/serving-endpoints");
    expect(tokens.body).toHaveProperty("config.served_entities.0.max_provisioned_throughput", 200);
  });

  it("leaves out what endpoints of custom models cannot have", () => {
    const { guardrails } = newValues();
    guardrails.input = { ...guardrails.input, pii: "MASK", safety: true };
    const given = { name: "e", fallbacks: true, guardrails };
    expect(createCall(newValues({ ...given, entities: [iris()] })).body).not.toHaveProperty("ai_gateway");
    expect(createCall(newValues({ ...given, routeOptimized: true, entities: [openai()] })).body).toMatchObject({
      ai_gateway: { fallback_config: { enabled: true }, guardrails: { input: { pii: { behavior: "MASK" }, safety: true } } },
    });
  });

  it("has rate limits in the form of the AI Gateway", () => {
    const rateLimits = [
      { id: "1", amount: 5, unit: "calls", key: "endpoint", principal: "forgotten" },
      { id: "2", amount: 900, unit: "tokens", key: "user_group", principal: "admins" },
    ] as const;
    const body = createCall(newValues({ name: "e", entities: [iris()], rateLimits: rateLimits.map((one) => ({ ...one })) })).body;
    expect(body).toHaveProperty("ai_gateway.rate_limits", [
      { calls: 5, renewal_period: "minute", key: "endpoint" },
      { tokens: 900, renewal_period: "minute", key: "user_group", principal: "admins" },
    ]);
  });
});

describe("the calls that change an endpoint", () => {
  const before = newValues({ name: "e", entities: [iris()], tags: [{ id: "1", key: "a", value: "1" }] });

  it("are none when nothing has changed", () => {
    expect(updateCalls("e", before, structuredClone(before))).toEqual([]);
  });

  it("leave tags with spaces around them as they are", () => {
    const spaced = { ...before, tags: [{ id: "1", key: " a", value: "1 " }] };
    expect(updateCalls("e", spaced, structuredClone(spaced))).toEqual([]);
  });

  it("are one for each part that has", () => {
    const after = { ...structuredClone(before), usageTracking: true, tags: [{ id: "2", key: "b", value: "" }], onFailure: ["a@b.c"] };
    after.entities[0]!.size = "Medium";
    const calls = updateCalls("e", before, after);
    expect(calls.map((call) => `${call.method} ${call.path.replace("/api/2.0/serving-endpoints", "")}`)).toEqual([
      "PUT /e/config",
      "PUT /e/ai-gateway",
      "PATCH /e/tags",
      "PATCH /e/notifications",
    ]);
    expect(calls[2]!.body).toEqual({ add_tags: [{ key: "b", value: "" }], delete_tags: ["a"] });
  });

  it("clear the AI Gateway with an empty block", () => {
    expect(updateCalls("e", { ...before, usageTracking: true }, before)).toMatchObject([{ part: "gateway", body: {} }]);
  });

  it("turn fallbacks off before the entity goes that they need", () => {
    const entities = [openai(), openai({ model: "o3" })].map((one) => ({ ...one, traffic: 50 }));
    const two = newValues({ name: "e", fallbacks: true, entities });
    const one = { ...two, fallbacks: false, entities: without(two.entities, 1) };
    expect(updateCalls("e", two, one).map((call) => call.part)).toEqual(["gateway", "config"]);
  });

  it("wrap the configuration on the route of provisioned throughput", () => {
    const old = newValues({ name: "e", entities: [throughput()] });
    const [call] = updateCalls("e", old, newValues({ name: "e", entities: [throughput({ modelUnits: 3 })] }));
    expect(call).toMatchObject({
      path: "/api/2.0/serving-endpoints/pt/e/config",
      body: { config: { served_entities: [{ provisioned_model_units: 3 }] } },
    });
  });
});

describe("what is shown and shared out", () => {
  it("hides keys that were typed in", () => {
    expect(withoutKeys({ a: [{ openai_api_key_plaintext: "sk", openai_api_base: "u" }] })).toEqual({
      a: [{ openai_api_key_plaintext: "<openai_api_key>", openai_api_base: "u" }],
    });
  });

  it("knows the fields that databricks-sdk has not", () => {
    expect(hasExtensions({ a: [{ anthropic_api_base: "u" }] })).toBe(true);
    expect(hasExtensions({ a: [{ openai_api_base: "u" }] })).toBe(false);
  });

  it("shares traffic out evenly, and gives all of it to the last", () => {
    expect(evenShares(3)).toEqual([34, 33, 33]);
    expect(without([iris({ traffic: 70 }), iris({ traffic: 30 })], 0)).toMatchObject([{ traffic: 100 }]);
  });
});
