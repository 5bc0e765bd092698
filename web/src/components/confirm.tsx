import { Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import i18next from "i18next";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";

interface Props {
  opened: boolean;
  close: () => void;
  title: string;
  children: ReactNode;
  /** The word on the button. */
  action: string;
  /** What must be typed first; nothing when it is undefined. */
  typed?: string;
  /** False for what takes nothing away: the button is not red then. */
  destructive?: boolean;
  run: () => Promise<unknown>;
}

/** Asks before something that cannot be taken back, or for the little that something needs. It stays open, with the reason, when that fails. */
export function ConfirmModal({ opened, close, title, children, action, typed, destructive = true, run }: Props) {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  function leave() {
    setText("");
    setProblem("");
    close();
  }
  async function confirm() {
    setBusy(true);
    setProblem("");
    try {
      await run();
      leave();
    } catch (error) {
      setProblem(errorText(error));
    } finally {
      setBusy(false);
    }
  }
  const ready = typed === undefined || text === typed;
  return (
    <Modal opened={opened} onClose={leave} title={title} closeButtonProps={{ "aria-label": t("close") }}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) void confirm();
        }}
      >
        <Stack gap="sm">
          <Text size="sm" component="div">
            {children}
          </Text>
          {typed !== undefined && (
            <TextInput label={t("typeToConfirm", { text: typed })} value={text} onChange={(event) => setText(event.currentTarget.value)} data-autofocus autoComplete="off" />
          )}
          {problem && (
            <Text c="var(--mantine-color-error)" size="sm" role="alert">
              {problem}
            </Text>
          )}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={leave}>
              {t("cancel")}
            </Button>
            <Button color={destructive ? "red.8" : undefined} type="submit" loading={busy} disabled={!ready}>
              {action}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const named = () => ({ "aria-label": i18next.t("common:close") });

/** A short word, lower right, that something was done. */
export function notifyDone(message: string): void {
  notifications.show({ message, color: "green.8", closeButtonProps: named() });
}

/** A word, lower right, that something failed and why; it stays until it is closed. */
export function notifyFailed(error: unknown): void {
  notifications.show({ message: errorText(error), color: "red.8", autoClose: false, closeButtonProps: named() });
}
