import { Anchor, Group, Input, NumberInput, Stack, Switch, Text, Textarea, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { JsonEditor } from "../../components/JsonEditor";
import { type ChatSettings, TOOLS_EXAMPLE } from "./conversation";
import { layOut } from "./jsonText";

interface Props {
  settings: ChatSettings;
  onChange: (settings: ChatSettings) => void;
  explain: boolean;
  onExplain: (explain: boolean) => void;
  toolsProblem: string | undefined;
  children: ReactNode;
}

/** How the model is asked. */
export function ChatSettingsForm({ settings, onChange, explain, onExplain, toolsProblem, children }: Props) {
  const { t } = useTranslation("query");
  const set = (part: Partial<ChatSettings>) => onChange({ ...settings, ...part });
  return (
    <Stack gap="sm" component="section" aria-label={t("chat.settings")}>
      <Group mih={30}>
        <Title order={2}>{t("chat.settings")}</Title>
      </Group>
      {children}
      <Textarea
        label={t("chat.system")}
        autosize
        minRows={2}
        maxRows={8}
        value={settings.system}
        onChange={(event) => set({ system: event.currentTarget.value })}
      />
      <SamplingFields temperature={settings.temperature} maxTokens={settings.maxTokens} onChange={set} />
      <Stack gap={4}>
        <Group justify="space-between" gap="xs">
          <Input.Label component="div">{t("chat.tools")}</Input.Label>
          <Anchor component="button" type="button" size="xs" onClick={() => set({ tools: layOut(TOOLS_EXAMPLE) })}>
            {t("chat.toolsExample")}
          </Anchor>
        </Group>
        <JsonEditor label={t("chat.tools")} value={settings.tools} onChange={(tools) => set({ tools })} minHeight={64} maxHeight={240} />
        {toolsProblem !== undefined && (
          <Text size="xs" c="var(--mantine-color-error)" role="alert">
            {t("invalidJson", { said: toolsProblem })}
          </Text>
        )}
      </Stack>
      <Switch
        size="sm"
        label={t("chat.stream")}
        checked={settings.stream}
        onChange={(event) => set({ stream: event.currentTarget.checked })}
      />
      <Switch size="sm" label={t("explain")} checked={explain} onChange={(event) => onExplain(event.currentTarget.checked)} />
    </Stack>
  );
}

interface Sampling {
  temperature: number | "";
  maxTokens: number | "";
}

/** Left empty, a value is left to the model. */
export function SamplingFields({ temperature, maxTokens, onChange }: Sampling & { onChange: (part: Partial<Sampling>) => void }) {
  const { t } = useTranslation("query");
  const numeric = (value: number | string) => (typeof value === "number" ? value : "");
  const shared = { placeholder: t("chat.modelsOwn"), hideControls: true, style: { flex: "1 1 7rem" } };
  return (
    <Group gap="sm" align="flex-end">
      <NumberInput
        {...shared}
        label={t("chat.temperature")}
        value={temperature}
        min={0}
        max={2}
        step={0.1}
        decimalScale={2}
        onChange={(value) => onChange({ temperature: numeric(value) })}
      />
      <NumberInput
        {...shared}
        label={t("chat.maxTokens")}
        value={maxTokens}
        min={1}
        allowDecimal={false}
        onChange={(value) => onChange({ maxTokens: numeric(value) })}
      />
    </Group>
  );
}
