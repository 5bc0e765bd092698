import { Button, ScrollArea, Table, Text, VisuallyHidden } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconPlus } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import type { EndpointDetail, GatewayRateLimit } from "../../../api/schema";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { RateLimitRow } from "./RateLimitRow";
import { saveGateway } from "./saveGateway";
import { SettingsSection } from "./SettingsSection";
import { useDraft } from "./useDraft";
import { useSave } from "./useSave";

const NEW: GatewayRateLimit = { key: "user", calls: 100, renewal_period: "minute" };
const MOST = 20;

/** How much may be asked of the endpoint in a minute, by all together and by each. */
export function RateLimitsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const draft = useDraft<GatewayRateLimit[]>(endpoint.ai_gateway?.rate_limits ?? []);
  const save = useSave();
  const [clearing, ask] = useDisclosure();
  const { name } = endpoint;
  const limits = draft.value;

  async function submit() {
    await saveGateway(name, (now) => ({ ...now, rate_limits: limits.length > 0 ? limits : undefined }));
    draft.reset();
    notifyDone(t("common:saved"));
  }

  async function clearOlder() {
    await unwrap(client.PUT("/api/2.0/serving-endpoints/{name}/rate-limits", { params: { path: { name } }, body: { rate_limits: [] } }));
    notifyDone(t("limits.olderCleared"));
  }

  return (
    <SettingsSection
      title={t("gateway.rateLimits")}
      description={t("limits.description")}
      draft={draft}
      save={save}
      problem={save.rest(limits.map((_, index) => `rate_limits[${index}]`))}
      submit={submit}
      aside={
        <Button variant="subtle" color="gray" c="dimmed" onClick={ask.open}>
          {t("limits.older")}
        </Button>
      }
    >
      {limits.length > 0 ? (
        <ScrollArea type="auto" offsetScrollbars="x">
          <Table miw={640} aria-label={t("gateway.rateLimits")} withRowBorders={false} horizontalSpacing={4}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th w={180}>{t("limits.for")}</Table.Th>
                <Table.Th>{t("limits.principal")}</Table.Th>
                <Table.Th w={120}>{t("limits.most")}</Table.Th>
                <Table.Th w={180}>{t("limits.unit")}</Table.Th>
                <Table.Th w={44}>
                  <VisuallyHidden>{t("common:remove")}</VisuallyHidden>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {limits.map((limit, index) => (
                // Limits have no names of their own; their order is what the API's messages count by.
                <RateLimitRow
                  key={index}
                  number={index + 1}
                  limit={limit}
                  onChange={(changed) => draft.set(limits.map((one, at) => (at === index ? changed : one)))}
                  onRemove={() => draft.set(limits.filter((_, at) => at !== index))}
                  problem={(field) => save.at(`rate_limits[${index}]${field}`)}
                />
              ))}
            </Table.Tbody>
          </Table>
        </ScrollArea>
      ) : (
        <Text size="sm">{t("limits.none")}</Text>
      )}
      {limits.length < MOST && (
        <Button
          variant="subtle"
          leftSection={<IconPlus size={15} />}
          style={{ alignSelf: "flex-start" }}
          onClick={() => draft.set([...limits, NEW])}
        >
          {t("limits.add")}
        </Button>
      )}
      <ConfirmModal opened={clearing} close={ask.close} title={t("limits.older")} action={t("common:remove")} run={clearOlder}>
        {t("limits.olderText")}
      </ConfirmModal>
    </SettingsSection>
  );
}
