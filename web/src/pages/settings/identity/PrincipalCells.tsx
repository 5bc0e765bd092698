import { Anchor, Badge, Box, Group, Text } from "@mantine/core";
import { IconCircleCheckFilled, IconCircleMinus } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { ComplexValue } from "../../../api/schema";
import { Cut } from "../../../components/Cut";
import { EVERYBODY } from "./scim";

/** The name of an object, leading to it. */
export function NameLink({ name, to }: { name: string; to: string }) {
  return (
    <Anchor component={Link} to={to} inherit className="cut" title={name} display="block">
      {name}
    </Anchor>
  );
}

/** Some texts on one line, cut where the column ends. */
export function CutList({ values }: { values: string[] }) {
  return <Cut width="100%" text={values.join(", ")} />;
}

export function ActiveState({ active }: { active: boolean }) {
  const { t } = useTranslation("settings");
  return (
    <Group gap={6} wrap="nowrap">
      {active ? (
        <IconCircleCheckFilled size={15} color="var(--mantine-color-green-7)" aria-hidden />
      ) : (
        <IconCircleMinus size={15} color="var(--mantine-color-gray-6)" aria-hidden />
      )}
      <Text inherit style={{ whiteSpace: "nowrap" }}>
        {t(active ? "identity.active" : "identity.inactive")}
      </Text>
    </Group>
  );
}

/** The groups that somebody is in, each leading to it. */
export function GroupLinks({ groups }: { groups: ComplexValue[] }) {
  const { t } = useTranslation("settings");
  const named = groups.filter((group) => group.display !== EVERYBODY);
  if (named.length === 0) return <>–</>;
  return (
    <Group gap="xs">
      {named.map((group) => (
        <Box key={group.value}>
          <Anchor component={Link} to={`/settings/groups?group=${encodeURIComponent(group.value ?? "")}`} inherit>
            {group.display}
          </Anchor>
          {group.type === "indirect" && (
            <Badge variant="default" size="xs" ml={4}>
              {t("identity.indirect")}
            </Badge>
          )}
        </Box>
      ))}
    </Group>
  );
}
