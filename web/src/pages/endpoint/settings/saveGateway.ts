import { client, unwrap } from "../../../api/client";
import { refreshEndpoint } from "../../../api/queries";
import type { AiGateway } from "../../../api/schema";

/** The API replaces the block as a whole: what this change does not touch is sent again as it is now. */
export async function saveGateway(name: string, change: (now: AiGateway) => AiGateway): Promise<void> {
  const params = { path: { name } };
  const now = await unwrap(client.GET("/api/2.0/serving-endpoints/{name}", { params }));
  await unwrap(client.PUT("/api/2.0/serving-endpoints/{name}/ai-gateway", { params, body: change(now.ai_gateway ?? {}) }));
  await refreshEndpoint(name);
}
