import { Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../api/schema";
import { ConfigVersionsSection } from "./ConfigVersionsSection";
import { DetailsSection } from "./DetailsSection";
import { kindOf } from "./endpointKind";
import { ReplicasSection } from "./ReplicasSection";
import { ServedEntitiesTable } from "./ServedEntitiesTable";
import { TitledSection } from "./TitledSection";
import { UpdateComparison } from "./UpdateComparison";
import { useLastUpdate } from "./useLastUpdate";

/** What the endpoint serves and on what; the change of it while there is one to tell of. */
export default function OverviewTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("endpoint");
  const update = useLastUpdate(endpoint);
  // An update that has failed or was canceled is told of until the next one, and hides nothing of what serves.
  const serving = !update || (update.outcome !== "IN_PROGRESS" && endpoint.config);
  return (
    <Stack gap="xl">
      {update && <UpdateComparison endpoint={endpoint} update={update} />}
      {serving && (
        <TitledSection title={t("entity.title")}>
          <ServedEntitiesTable config={endpoint.config ?? undefined} stopped={!!endpoint.stopped} />
        </TitledSection>
      )}
      {kindOf(endpoint) !== "EXTERNAL_MODEL" && <ReplicasSection endpoint={endpoint} />}
      <ConfigVersionsSection endpoint={endpoint} />
      <DetailsSection endpoint={endpoint} />
    </Stack>
  );
}
