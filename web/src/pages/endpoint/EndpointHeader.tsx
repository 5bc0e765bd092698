import { Box } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../api/schema";
import { CopyableText } from "../../components/Copy";
import { PageHeader } from "../../components/PageHeader";
import { StateIndicator } from "../../components/StateIndicator";
import { EndpointActions } from "./EndpointActions";
import { invocationUrl } from "./endpointKind";

interface Props {
  endpoint: EndpointDetail;
  crumbs: { label: string; to: string }[];
  /** Told true before the endpoint is deleted, and false if that failed. */
  onRemoving: (removing: boolean) => void;
}

/** The name with its state, what can be done with the endpoint, and where it is called. */
export function EndpointHeader({ endpoint, crumbs, onRemoving }: Props) {
  const { t } = useTranslation("endpoint");
  return (
    <>
      <PageHeader title={endpoint.name} crumbs={crumbs} after={<StateIndicator endpoint={endpoint} size="md" />}>
        <EndpointActions endpoint={endpoint} onRemoving={onRemoving} />
      </PageHeader>
      <Box c="dimmed" mt="calc(var(--mantine-spacing-md) * -0.75)">
        <CopyableText value={invocationUrl(endpoint)} label={t("header.copyUrl")} />
      </Box>
    </>
  );
}
