import { ActionIcon, Group, ScrollArea, Select, Table, Text } from "@mantine/core";
import { IconRobot, IconTrash, IconUser, IconUsersGroup } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { type FixedGrant, type Grant, LEVELS, sameAs } from "./permissionRows";
import type { Principal } from "./principals";

const ICONS = { user: IconUser, group: IconUsersGroup, servicePrincipal: IconRobot };

function PrincipalCell({ principal }: { principal: Principal }) {
  const { t } = useTranslation("endpoint");
  const { kind, name, display } = principal;
  const Icon = ICONS[kind];
  return (
    <Group gap={8} wrap="nowrap" miw={0}>
      <Icon size={16} role="img" aria-label={t(`principal.${kind}`)} style={{ flex: "none" }} />
      <Text inherit className="cut" maw={360} title={name}>
        {display}
        {display !== name && (
          <Text inherit component="span" c="dimmed">
            {" "}
            {name}
          </Text>
        )}
      </Text>
    </Group>
  );
}

interface Props {
  grants: Grant[];
  fixed: FixedGrant[];
  /** Without it nothing can be changed. */
  onChange?: (grants: Grant[]) => void;
}

/** Those who have a level on the endpoint: first what comes from elsewhere, then what is granted here. */
export function PermissionTable({ grants, fixed, onChange }: Props) {
  const { t } = useTranslation("endpoint");
  return (
    <ScrollArea type="auto" offsetScrollbars="x" viewportProps={{ tabIndex: 0, role: "group", "aria-label": t("permissions.title") }}>
      <Table aria-label={t("permissions.title")} miw={620}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t("permissions.principal")}</Table.Th>
            <Table.Th w={190}>{t("permissions.level")}</Table.Th>
            <Table.Th w={270}>{t("permissions.source")}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {fixed.map((row) => (
            <Table.Tr key={`${row.kind}:${row.name}:${row.from ?? ""}`}>
              <Table.Td>
                <PrincipalCell principal={row} />
              </Table.Td>
              <Table.Td>{row.level}</Table.Td>
              <Table.Td c="dimmed">
                {row.from === undefined ? t("permissions.owner") : t("permissions.inherited", { from: row.from })}
              </Table.Td>
            </Table.Tr>
          ))}
          {grants.map((row) => (
            <Table.Tr key={`${row.kind}:${row.name}`}>
              <Table.Td>
                <PrincipalCell principal={row} />
              </Table.Td>
              <Table.Td>
                <Select
                  size="xs"
                  aria-label={t("permissions.levelOf", { name: row.display })}
                  data={LEVELS}
                  value={row.level}
                  allowDeselect={false}
                  onChange={(level) => level && onChange?.(grants.map((one) => (sameAs(row)(one) ? { ...one, level } : one)))}
                />
              </Table.Td>
              <Table.Td>
                <Group justify="space-between" wrap="nowrap">
                  <Text inherit c="dimmed">
                    {t("permissions.direct")}
                  </Text>
                  <ActionIcon
                    variant="subtle"
                    color="gray"
                    aria-label={t("permissions.removeOf", { name: row.display })}
                    onClick={() => onChange?.(grants.filter((one) => !sameAs(row)(one)))}
                  >
                    <IconTrash size={16} />
                  </ActionIcon>
                </Group>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </ScrollArea>
  );
}
