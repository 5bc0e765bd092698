import { Anchor, Box, Group, Paper, SimpleGrid, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointSummary } from "../../api/schema";
import { ConditionIcon, conditionOf, type EndpointCondition } from "../../components/StateIndicator";
import { CONDITIONS } from "../serving/endpoints";

/** How many endpoints there are in each state; each figure leads to the list of them. */
export function Conditions({ endpoints }: { endpoints: EndpointSummary[] }) {
  const { t, i18n } = useTranslation("common");
  const counts = new Map<EndpointCondition, number>();
  for (const endpoint of endpoints) counts.set(conditionOf(endpoint), (counts.get(conditionOf(endpoint)) ?? 0) + 1);
  const format = new Intl.NumberFormat(i18n.language);
  return (
    <SimpleGrid cols={{ base: 2, xs: 3, md: 4, lg: 6 }} spacing="sm">
      {CONDITIONS.filter((condition) => counts.has(condition)).map((condition) => {
        const count = counts.get(condition) ?? 0;
        return (
          <Anchor key={condition} component={Link} to={`/ml/endpoints?state=${condition}`} c="inherit" underline="never">
            <Paper withBorder px="sm" py="xs" h="100%">
              <Text fz="xl" fw={600} lh={1.3}>
                {format.format(count)}
              </Text>
              <Group gap={6} wrap="nowrap" align="center">
                <Box h={16} style={{ flex: "none" }}>
                  <ConditionIcon condition={condition} />
                </Box>
                <Text size="sm" lh={1.3}>
                  {t(`condition.${condition}`)}
                </Text>
              </Group>
            </Paper>
          </Anchor>
        );
      })}
    </SimpleGrid>
  );
}
