import { expect, test } from "vitest";
import { shownModel, shownVersion } from "./ownTags";

const team = { key: "team", value: "a" };

test("the server's own tags are fields of a version, not tags", () => {
  const tags = [
    team,
    { key: "moorage.source", value: "runs:/abc/model" },
    { key: "moorage.user", value: "ann@example.com" },
    { key: "moorage.registration", value: "PENDING" },
  ];
  const version = { name: "main.default.m", version: "1", status: "READY", source: "mlflow-artifacts:/registered-models/x", tags };
  expect(shownVersion(version)).toEqual({
    name: "main.default.m",
    version: "1",
    status: "PENDING_REGISTRATION",
    source: "runs:/abc/model",
    user_id: "ann@example.com",
    tags: [team],
  });
  expect(shownModel({ name: "main.default.m", tags, latest_versions: [version] })).toMatchObject({
    tags: [team],
    latest_versions: [{ status: "PENDING_REGISTRATION", tags: [team] }],
  });
});

test("a version of MLflow's own is as it is", () => {
  const version = { name: "m", version: "1", status: "READY", source: "runs:/abc/model", user_id: "bob", tags: [team] };
  expect(shownVersion(version)).toEqual(version);
});
