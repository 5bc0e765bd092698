import { Anchor, Title, VisuallyHidden } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { ApiError } from "../../api/client";
import type { EndpointDetail } from "../../api/schema";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageSkeleton } from "../../components/PageSkeleton";
import { useUrlValue } from "../../components/UrlSearch";
import { kindOf } from "../endpoint/endpointKind";
import { InferenceRows } from "./InferenceRows";
import { TableStatus } from "./TableStatus";
import { useInferenceTables } from "./useInferenceTable";

/** The requests to an endpoint and their answers, as they were logged. */
export default function InferenceTableTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("observe");
  const [wanted] = useUrlValue("table");
  const allowed = endpoint.permission_level === "CAN_MANAGE";
  const tables = useInferenceTables(endpoint.name, allowed);
  const table = tables.data?.find((one) => one.name === wanted) ?? tables.data?.[0];
  let body;
  if (!allowed) body = <ErrorPanel error={new ApiError(403, "PERMISSION_DENIED", t("table.forbidden"))} />;
  else if (tables.isError && !tables.data) body = <ErrorPanel error={tables.error} retry={() => void tables.refetch()} />;
  else if (!tables.data) body = <PageSkeleton />;
  else if (!table) body = <LoggingIsOff endpoint={endpoint} />;
  else {
    body = (
      <>
        <TableStatus tables={tables.data} table={table} />
        <InferenceRows endpoint={endpoint} table={table.name} />
      </>
    );
  }
  return (
    <>
      <VisuallyHidden>
        <Title order={2}>{t("table.title")}</Title>
      </VisuallyHidden>
      {body}
    </>
  );
}

function LoggingIsOff({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("observe");
  const catalogue = kindOf(endpoint) === "FOUNDATION_MODEL_API";
  return (
    <EmptyState
      title={t("table.off")}
      action={
        !catalogue && (
          <Anchor component={Link} to={`/ml/endpoints/${encodeURIComponent(endpoint.name)}/settings`} size="sm">
            {t("table.switchOn")}
          </Anchor>
        )
      }
    >
      {t("table.offHint")}
    </EmptyState>
  );
}
