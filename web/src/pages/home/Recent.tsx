import { Anchor, Table } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary } from "../../api/schema";
import { StateIndicator } from "../../components/StateIndicator";
import { TimeAgo } from "../../components/Time";
import { NameCell, Section, TableFrame } from "./Section";

const SHOWN = 8;

/** The endpoints that changed last; `recent` has the newest changes first. */
export function Recent({ recent }: { recent: EndpointSummary[] }) {
  const { t } = useTranslation(["home", "common"]);
  const all = (
    <Anchor component={Link} to="/ml/endpoints" size="sm">
      {t("recent.all", { count: recent.length })}
    </Anchor>
  );
  return (
    <Section title={t("recent.title")} beside={all}>
      <TableFrame label={t("recent.title")} columns={[t("common:name"), t("state"), t("changed")]}>
        {recent.slice(0, SHOWN).map((endpoint) => (
          <Table.Tr key={endpoint.id}>
            <NameCell name={endpoint.name} />
            <Table.Td>
              <StateIndicator endpoint={endpoint} />
            </Table.Td>
            <Table.Td>
              <TimeAgo at={endpoint.last_updated_timestamp} />
            </Table.Td>
          </Table.Tr>
        ))}
      </TableFrame>
    </Section>
  );
}
