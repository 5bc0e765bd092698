import { Modal, Text, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useTranslation } from "react-i18next";
import type { EventOutput } from "../../api/schema";
import { CodeBlock } from "../../components/Copy";

// Longer ones, and those of several lines, are shown in full when they are asked for.
const LONGEST_SHOWN = 160;

/** What an event says: its first line, and a way to the others, which often are the end of a log. */
export function EventMessage({ event }: { event: EventOutput }) {
  const { t } = useTranslation(["observe", "common"]);
  const [opened, { open, close }] = useDisclosure();
  const { message } = event;
  const [first = ""] = message.split("\n");
  if (first === message && message.length <= LONGEST_SHOWN) return <>{message}</>;
  return (
    <>
      <Text inherit>{first.length > LONGEST_SHOWN ? `${first.slice(0, LONGEST_SHOWN)}…` : first}</Text>
      <UnstyledButton fz="sm" c="var(--mantine-color-anchor)" onClick={open}>
        {t("events.more")}
      </UnstyledButton>
      <Modal opened={opened} onClose={close} title={event.event_type} size="xl" closeButtonProps={{ "aria-label": t("common:close") }}>
        <CodeBlock code={message} label={t("events.message")} maxHeight={560} />
      </Modal>
    </>
  );
}
