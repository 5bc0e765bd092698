import { ActionIcon, Menu } from "@mantine/core";
import { IconDots, IconEdit, IconMessage, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useEndpoint } from "../../api/queries";
import type { EndpointSummary } from "../../api/schema";
import { allowed } from "../endpoint/endpointKind";

/** What can be done with the endpoint of a row. */
export function RowMenu({ endpoint, remove }: { endpoint: EndpointSummary; remove: (name: string) => void }) {
  const { t } = useTranslation("serving");
  const path = `/ml/endpoints/${encodeURIComponent(endpoint.name)}`;
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
        <Changes name={endpoint.name} path={path} remove={remove} />
      </Menu.Dropdown>
    </Menu>
  );
}

/** What changes it. The list does not say what the reader may do; the endpoint itself does, asked once the menu is open. */
function Changes({ name, path, remove }: { name: string; path: string; remove: (name: string) => void }) {
  const { t } = useTranslation("common");
  const { data } = useEndpoint(name);
  if (!data) return null;
  const may = allowed(data);
  return (
    <>
      {may.edit && (
        <Menu.Item component={Link} to={`${path}/edit`} leftSection={<IconEdit size={15} />}>
          {t("edit")}
        </Menu.Item>
      )}
      {may.remove && (
        <Menu.Item c="var(--mantine-color-error)" leftSection={<IconTrash size={15} />} onClick={() => remove(name)}>
          {t("delete")}
        </Menu.Item>
      )}
    </>
  );
}
