import { Alert, Group, SegmentedControl, Stack } from "@mantine/core";
import { IconLock } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../api/schema";
import { useUrlValue } from "../../components/UrlSearch";
import { CallModelPanel } from "./CallModelPanel";
import { ChatPlayground } from "./ChatPlayground";
import { CodeSection } from "./CodeSection";
import { CompletionPlayground } from "./CompletionPlayground";
import { EmbeddingsPlayground } from "./EmbeddingsPlayground";
import { EndpointNotice } from "./EndpointNotice";
import { EntitySelect } from "./EntitySelect";
import { skeleton } from "./example";
import { endpointUrl } from "./invoke";
import { useKept } from "./useKept";
import { useModelExample } from "./useModelExample";

/** Ask the endpoint: with JSON, or in a playground of what its models do. */
export default function QueryTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { name, task } = endpoint;
  if (endpoint.permission_level === "CAN_VIEW") return <MayNotQuery endpoint={endpoint} />;
  return <Ask key={`${name} ${task}`} endpoint={endpoint} />;
}

function Ask({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("query");
  const { name, task } = endpoint;
  const [chosen, setEntity] = useKept<string | null>(`entity ${name}`, null);
  const entities = endpoint.config?.served_entities ?? [];
  const entity = entities.some((one) => one.name === chosen) ? chosen : null;
  const { example, reason, takesMessages } = useModelExample(endpoint, entity);
  // A model of one's own that takes messages has both; its JSON shows more of what it says.
  const hasPlayground = Boolean(task) || takesMessages;
  const [view, setView] = useUrlValue("view", task ? "playground" : "json");
  const playground = hasPlayground && view === "playground";
  const mayWake = entities.some((one) => one.scale_to_zero_enabled);
  const select = <EntitySelect endpoint={endpoint} value={entity} onChange={setEntity} />;

  return (
    <Stack gap="md">
      <EndpointNotice endpoint={endpoint} />
      {hasPlayground && (
        <Group>
          <SegmentedControl
            size="xs"
            aria-label={t("view.label")}
            value={playground ? "playground" : "json"}
            onChange={setView}
            data={[
              { value: "playground", label: t("view.playground") },
              { value: "json", label: "JSON" },
            ]}
          />
        </Group>
      )}
      {!playground && (
        <CallModelPanel
          url={endpointUrl(name, entity)}
          example={example?.text}
          exampleNote={example && [t(`example.${example.origin}`), reason].filter(Boolean).join(" ")}
          code={{ endpoint: name, toEntity: entity !== null, task }}
          mayWake={mayWake}
        >
          {select}
        </CallModelPanel>
      )}
      {playground && task === "llm/v1/embeddings" && <EmbeddingsPlayground endpoint={endpoint} entity={entity} select={select} />}
      {playground && task === "llm/v1/completions" && <CompletionPlayground endpoint={endpoint} entity={entity} select={select} />}
      {playground && (task === "llm/v1/chat" || !task) && <ChatPlayground endpoint={endpoint} entity={entity} select={select} />}
    </Stack>
  );
}

function MayNotQuery({ endpoint: { name, task } }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("query");
  return (
    <Stack gap="md">
      <Alert color="gray" icon={<IconLock size={18} />} title={t("mayNot.title")}>
        {t("mayNot.text")}
      </Alert>
      <CodeSection path={endpointUrl(name, null)} body={skeleton(task).text} endpoint={name} task={task} />
    </Stack>
  );
}
