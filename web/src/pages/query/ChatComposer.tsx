import { Button, Group, Textarea } from "@mantine/core";
import type { KeyboardEvent } from "react";
import { useTranslation } from "react-i18next";
import { useKept } from "./useKept";

interface Props {
  busy: boolean;
  /** Something of the settings cannot be sent. */
  blocked: boolean;
  draftKey: string;
  send: (content: string) => void;
  stop: () => void;
}

/** Where the next message is written. Enter sends it, Shift+Enter begins a new line. */
export function ChatComposer({ busy, blocked, draftKey, send, stop }: Props) {
  const { t } = useTranslation("query");
  const [text, setText] = useKept(`draft ${draftKey}`, "");
  const ready = text.trim() !== "" && !busy && !blocked;
  function sendNow() {
    if (!ready) return;
    setText("");
    send(text);
  }
  function sendOnEnter(event: KeyboardEvent) {
    // While a word is put together (Japanese), Enter is the input method's.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    sendNow();
  }
  return (
    <Group gap="xs" align="flex-start" wrap="nowrap">
      <Textarea
        aria-label={t("chat.message")}
        error={blocked && t("chat.blocked")}
        placeholder={t("chat.placeholder")}
        autosize
        minRows={2}
        maxRows={10}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onKeyDown={sendOnEnter}
        style={{ flex: 1 }}
      />
      {busy ? (
        <Button variant="default" onClick={stop}>
          {t("chat.stop")}
        </Button>
      ) : (
        <Button onClick={sendNow} disabled={!ready} title={t("chat.placeholder")}>
          {t("chat.send")}
        </Button>
      )}
    </Group>
  );
}
