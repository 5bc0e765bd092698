import { Anchor, Box, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";

/** The first line of what the server says; the others, often the end of a log, when they are asked for. */
export function Message({ text, color }: { text: string; color?: string }) {
  const { t } = useTranslation("models");
  const [opened, { toggle }] = useDisclosure();
  const [first = "", ...rest] = text.trim().split("\n");
  return (
    <Box miw={0} flex={1}>
      <Text size="sm" c={color}>
        {first}{" "}
        {rest.length > 0 && (
          <Anchor component="button" type="button" size="sm" underline="always" aria-expanded={opened} onClick={toggle}>
            {t(opened ? "lessOfMessage" : "moreOfMessage")}
          </Anchor>
        )}
      </Text>
      {opened && (
        <Box component="pre" className="mono" m={0} mt={4} style={{ whiteSpace: "pre-wrap" }}>
          {rest.join("\n")}
        </Box>
      )}
    </Box>
  );
}
