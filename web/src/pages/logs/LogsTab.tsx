import { Alert, Button, Group, SegmentedControl, Select, Stack, Title, VisuallyHidden } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../api/client";
import type { ConfigVersion, EndpointDetail, LogFile, ServedEntityOutput } from "../../api/schema";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageSkeleton } from "../../components/PageSkeleton";
import { useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import { useConfigVersions } from "../endpoint/useConfigVersions";
import { LogViewer } from "./LogViewer";
import { entitiesOf } from "./servedEntities";

const LOG_FILES_EVERY_MS = 5000;

/** Build logs and service logs of an endpoint: of one served entity of one configuration, of all its replicas or one. */
export default function LogsTab({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["observe", "common"]);
  const versions = useConfigVersions(endpoint);
  let body;
  if (versions.isError && !versions.data) body = <ErrorPanel error={versions.error} retry={() => void versions.refetch()} />;
  else if (!versions.data) body = <PageSkeleton />;
  else if (!versions.data.length) body = <EmptyState title={t("logs.noConfig")}>{t("logs.noConfigHint")}</EmptyState>;
  else if (versions.data.every((version) => entitiesOf(version).every(isExternal))) {
    body = <EmptyState title={t("logs.external")}>{t("logs.externalHint")}</EmptyState>;
  } else body = <ChosenLog endpoint={endpoint} versions={versions.data} />;
  return (
    <>
      <VisuallyHidden>
        <Title order={2}>{t("logs.title")}</Title>
      </VisuallyHidden>
      {body}
    </>
  );
}

function isExternal(entity: ServedEntityOutput): boolean {
  return !!entity.external_model;
}

function ChosenLog({ endpoint, versions }: { endpoint: EndpointDetail; versions: ConfigVersion[] }) {
  const { t } = useTranslation(["observe", "common"]);
  const patch = useUrlPatch();
  const [kind] = useUrlValue("log", "service");
  const [wantedVersion] = useUrlValue("version");
  const [wantedEntity] = useUrlValue("entity");
  const [replica] = useUrlValue("replica");
  const [attempt, setAttempt] = useState(0);

  const version = versions.find((one) => String(one.config_version) === wantedVersion) ?? versions[0]!;
  const entities = entitiesOf(version);
  const entity = entities.find((one) => one.name === wantedEntity) ?? entities[0];
  const files = useLogFiles(endpoint.name, entity, version.config_version);
  const building = kind === "build";

  if (!entity) return <EmptyState title={t("logs.noConfig")}>{t("logs.noConfigHint")}</EmptyState>;
  const base = `/api/2.0/serving-endpoints/${encodeURIComponent(endpoint.name)}/served-models/${encodeURIComponent(entity.name)}`;
  const query = new URLSearchParams({ config_version: String(version.config_version) });
  if (!building && replica) query.set("replica", replica);
  const url = `${base}/${building ? "build-logs" : "logs"}/stream?${query}`;
  const label = `${building ? t("logs.build") : t("logs.service")}: ${entity.name}`;
  const ofReplica = !building && replica ? [replica] : [];
  const ending = building ? "build.log" : "service.log";
  const fileName = [endpoint.name, entity.name, `v${version.config_version}`, ...ofReplica, ending].join("-");

  return (
    <Stack gap="xs">
      <Group gap="sm" align="flex-end" wrap="wrap">
        <SegmentedControl
          aria-label={t("logs.kind")}
          value={building ? "build" : "service"}
          onChange={(value) => patch({ log: value === "build" ? "build" : "" })}
          data={[
            { value: "service", label: t("logs.service") },
            { value: "build", label: t("logs.build") },
          ]}
        />
        <Select
          label={t("logs.entity")}
          allowDeselect={false}
          value={entity.name}
          onChange={(value) => patch({ entity: value ?? "", replica: "" })}
          data={entities.map((one) => one.name)}
        />
        <Select
          label={t("logs.version")}
          allowDeselect={false}
          value={String(version.config_version)}
          onChange={(value) => patch({ version: value ?? "", replica: "" })}
          data={versions.map((one) => ({ value: String(one.config_version), label: versionLabel(one, t) }))}
        />
        {!building && (
          <Select
            label={t("logs.replica")}
            allowDeselect={false}
            value={replica}
            onChange={(value) => patch({ replica: value ?? "" })}
            data={[{ value: "", label: t("logs.allReplicas") }, ...replicaChoices(files.data ?? [], replica)]}
          />
        )}
      </Group>
      {isExternal(entity) ? (
        <EmptyState title={t("logs.external")}>{t("logs.externalHint")}</EmptyState>
      ) : files.isError && !files.data ? (
        <ErrorPanel error={files.error} retry={() => void files.refetch()} />
      ) : (
        <>
          {!building && replica && files.data && !files.data.some((file) => file.replica === replica || file.tag === replica) && (
            <Alert color="gray">{t("logs.replicaGone", { replica })}</Alert>
          )}
          <LogViewer
            key={attempt}
            url={url}
            label={label}
            fileName={fileName}
            reconnect={() => setAttempt((before) => before + 1)}
            empty={
              building ? (
                <EmptyState title={t("logs.noBuild")}>{t("logs.noBuildHint")}</EmptyState>
              ) : (
                <EmptyState
                  title={t("logs.noService")}
                  action={
                    <Button variant="default" size="xs" onClick={() => patch({ log: "build" })}>
                      {t("logs.toBuild")}
                    </Button>
                  }
                >
                  {t("logs.noServiceHint")}
                </EmptyState>
              )
            }
          />
        </>
      )}
    </Stack>
  );
}

function useLogFiles(name: string, entity: ServedEntityOutput | undefined, version: number) {
  const served = entity?.name ?? "";
  return useQuery({
    queryKey: ["endpoint", name, "log-files", served, version],
    enabled: !!entity && !isExternal(entity),
    refetchInterval: LOG_FILES_EVERY_MS,
    queryFn: async () => {
      const call = client.GET("/api/2.0/serving-endpoints/{name}/served-models/{served_model_name}/log-files", {
        params: { path: { name, served_model_name: served } },
        // The route reads the version of its query without saying so in the API's document.
        querySerializer: () => `config_version=${version}`,
      });
      return (await unwrap(call)).log_files;
    },
  });
}

function replicaChoices(files: LogFile[], chosen: string): { value: string; label: string }[] {
  const choices = files.map((file) => ({ value: file.replica, label: file.replica }));
  return chosen && !files.some((file) => file.replica === chosen) ? [...choices, { value: chosen, label: chosen }] : choices;
}

function versionLabel(version: ConfigVersion, t: (key: string, values: { version: number }) => string): string {
  const values = { version: version.config_version };
  if (version.pending) return t("logs.versionPending", values);
  return version.active ? t("logs.versionActive", values) : t("logs.versionPlain", values);
}
