import { useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";
import type { EndpointDetail } from "../../api/schema";

/** Every configuration that the endpoint has had, the newest first; asked for anew when the endpoint has changed. */
export const useConfigVersions = ({ name, state, config, pending_config: pending }: EndpointDetail) =>
  useQuery({
    queryKey: ["endpoint", name, "config-versions", state.config_update, config?.config_version, pending?.config_version],
    queryFn: async () => {
      const call = client.GET("/api/2.0/serving-endpoints/{name}/config-versions", { params: { path: { name } } });
      return (await unwrap(call)).config_versions;
    },
    placeholderData: (before) => before,
  });
