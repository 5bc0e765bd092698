import { describe, expect, it } from "vitest";
import { fieldOf } from "./fieldErrors";
import { newEntity, newExternal, newValues } from "./values";

const values = newValues({
  entities: [
    newEntity("custom", { entityName: "main.default.iris", entityVersion: "1" }),
    newEntity("external", { external: { ...newExternal(), model: "gpt-4o" } }),
  ],
});
const OPENAI = "config.served_entities[1].external_model.openai_config";
const field = (message: string, code = "INVALID_PARAMETER_VALUE") => fieldOf({ code, message }, values)?.field;

describe("the field that a message names", () => {
  it.each([
    ["Invalid value for 'name': must be 1 to 63 characters long", "name"],
    ["Invalid value for 'config.served_entities[0].entity_version': must be the number of a model version", "entities.0.entityVersion"],
    ["Invalid value for 'served_entities[0].environment_vars': 'A-B' is no variable name", "entities.0.variables"],
    ["Invalid value for 'config.served_entities[0]': 'max_provisioned_concurrency' must be at least 4", "entities.0.maxConcurrency"],
    [`Missing required field '${OPENAI}.openai_api_key'`, "entities.1.external.openai_api_key"],
    [`Invalid value for '${OPENAI}.openai_api_key_plaintext': must be text`, "entities.1.external.openai_api_key"],
    ["Invalid value for 'config': 'traffic_config' percentages must add up to 100, they add up to 90", "traffic"],
    ["Invalid value for 'config': 'served_entities' names 'iris-1' 2 times; each name must be unique", "entities"],
    ["Missing required field 'ai_gateway.rate_limits[2].principal'", "rateLimits.2.principal"],
    ["Missing required field 'inference_table_config.schema_name'", "table.schema"],
    ["Invalid value for 'ai_gateway.guardrails': guardrails need detectors that are not installed", "guardrails"],
    ["Invalid request: 'tags' has the key 'a' 2 times; each key must be unique", "tags"],
    ["Invalid value for 'add_tags[0].key': must have at least 1 characters", "tags"],
    ["Invalid value for 'email_notifications.on_update_failure[0]': must be an e-mail address", "onFailure"],
    ["Secret scope 'x' does not exist, to which credential 'openai_api_key' of 'gpt-4o' refers.", "entities.1.external.openai_api_key"],
    ["Registered Model with name=main.default.iris not found", "entities.0"],
  ])("%s", (message, expected) => expect(field(message)).toBe(expected));

  it("is the name where it is taken", () => {
    expect(field("Endpoint with name 'tags' already exists.", "RESOURCE_ALREADY_EXISTS")).toBe("name");
  });

  it("is none where none is named", () => {
    expect(field("Workspace exceeded serving endpoint quota: 1000 endpoints")).toBeUndefined();
  });
});
