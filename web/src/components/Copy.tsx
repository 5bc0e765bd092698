import { ActionIcon, Box, CopyButton, Group, ScrollArea, Tabs, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";

/** A small button that copies `value`. `label` says what is copied, for the reader of the screen. */
export function CopyIcon({ value, label }: { value: string; label?: string }) {
  const { t } = useTranslation();
  return (
    <CopyButton value={value} timeout={1500}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? t("copied") : (label ?? t("copy"))}>
          <ActionIcon variant="subtle" color="gray" size="sm" onClick={copy} aria-label={label ?? t("copy")}>
            {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

/** Text to read and copy: a command, a program, a document. */
export function CodeBlock({ code, label, maxHeight }: { code: string; label?: string; maxHeight?: number }) {
  const { t } = useTranslation();
  return (
    <Box pos="relative" bd="1px solid var(--mantine-color-default-border)" style={{ borderRadius: "var(--mantine-radius-sm)" }}>
      <Box pos="absolute" top={6} right={6} bg="var(--mantine-color-body)" style={{ zIndex: 1 }}>
        <CopyIcon value={code} label={label && t("copyOf", { what: label })} />
      </Box>
      <ScrollArea.Autosize mah={maxHeight} viewportProps={{ tabIndex: 0, role: "region", "aria-label": label }}>
        <Box component="pre" m={0} p="sm" pr={40} className="mono">
          {code}
        </Box>
      </ScrollArea.Autosize>
    </Box>
  );
}

/** The same thing said in several languages: a tab for each. `label` says what, where a page has several of these. */
export function CodeTabs({ items, label }: { label?: string; items: { label: string; code: string }[] }) {
  return (
    <Tabs defaultValue="0" keepMounted={false}>
      <Tabs.List>
        {/* Its place: ids are made of the value, and a label may have spaces. */}
        {items.map((item, at) => (
          <Tabs.Tab key={item.label} value={String(at)}>
            {item.label}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {items.map((item, at) => (
        <Tabs.Panel key={item.label} value={String(at)} pt="xs">
          <CodeBlock code={item.code} label={label ? `${label}: ${item.label}` : item.label} maxHeight={480} />
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}

/** A value on one line, cut where its place ends, with a button that copies it. */
export function CopyableText({ value, label }: { value: string; label?: string }) {
  return (
    <Group gap={4} wrap="nowrap" miw={0}>
      <Box component="span" className="mono cut" title={value}>
        {value}
      </Box>
      <CopyIcon value={value} label={label} />
    </Group>
  );
}
