import { ActionIcon, Menu } from "@mantine/core";
import { IconDots, IconEdit, IconMessage, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary } from "../../api/schema";
import { isFoundationEndpoint } from "./endpoints";

/** What can be done with the endpoint of a row. The list does not say what the reader may do: the server does, when it is tried. */
export function RowMenu({ endpoint, remove }: { endpoint: EndpointSummary; remove: (name: string) => void }) {
  const { t } = useTranslation(["serving", "common"]);
  const path = `/ml/endpoints/${encodeURIComponent(endpoint.name)}`;
  const ours = !isFoundationEndpoint(endpoint);
  return (
    <Menu position="bottom-end" width={160}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="sm" aria-label={t("actions", { name: endpoint.name })}>
          <IconDots size={16} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component={Link} to={`${path}/query`} leftSection={<IconMessage size={15} />}>
          {t("query")}
        </Menu.Item>
        {ours && !endpoint.legacy_serving && (
          <Menu.Item component={Link} to={`${path}/edit`} leftSection={<IconEdit size={15} />}>
            {t("common:edit")}
          </Menu.Item>
        )}
        {ours && (
          <Menu.Item c="var(--mantine-color-error)" leftSection={<IconTrash size={15} />} onClick={() => remove(endpoint.name)}>
            {t("common:delete")}
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}
