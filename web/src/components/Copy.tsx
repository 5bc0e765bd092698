import { ActionIcon, Box, Group, ScrollArea, Tabs, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { notifyFailed } from "./confirm";

const TOLD_MS = 1500;

/** False where the browser does not allow it. */
async function copyText(text: string): Promise<boolean> {
  // Browsers have the clipboard on https and on localhost alone; on another machine's plain http the older command is left.
  if ("clipboard" in navigator) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  function give(event: ClipboardEvent) {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
  }
  document.addEventListener("copy", give);
  const done = document.execCommand("copy");
  document.removeEventListener("copy", give);
  return done;
}

/** A small button that copies `value`. `label` says what is copied, for the reader of the screen. */
export function CopyIcon({ value, label }: { value: string; label?: string }) {
  const { t } = useTranslation();
  const [copied, setCopied] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);

  async function copy() {
    if (!(await copyText(value))) {
      notifyFailed(t("copyFailed"));
      return;
    }
    setCopied(true);
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setCopied(false), TOLD_MS);
  }

  return (
    <Tooltip label={copied ? t("copied") : (label ?? t("copy"))}>
      <ActionIcon variant="subtle" color="gray" size="sm" onClick={() => void copy()} aria-label={label ?? t("copy")}>
        {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
      </ActionIcon>
    </Tooltip>
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
