import { Anchor, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useEndpoints } from "../../api/queries";
import { type ModelVersion, type RegisteredModel, useModelVersions } from "../../api/registry";
import { type Column, DataTable } from "../../components/DataTable";
import { EmptyState } from "../../components/EmptyState";
import { ErrorPanel } from "../../components/ErrorPanel";
import { TimeAgo } from "../../components/Time";
import { AliasesOfVersion } from "./AliasesOfVersion";
import { EndpointLinks } from "./EndpointLinks";
import { endpointsServing } from "./served";
import { RunUser, SourceRun } from "./SourceRun";
import { StageSelect } from "./StageSelect";

const LOOK_EVERY_MS = 5000;
const PAGE = 25;
const STATUSES = ["READY", "PENDING_REGISTRATION", "FAILED_REGISTRATION"];

/** All versions of a model, and what can be done with each. */
export function VersionsTab({ model }: { model: RegisteredModel }) {
  const { t } = useTranslation("models");
  const versions = useModelVersions(model.name, LOOK_EVERY_MS);
  const endpoints = useEndpoints();
  const serving = (version: ModelVersion) => endpointsServing(endpoints.data ?? [], model.name, version.version);
  const aliasesOf = (version: ModelVersion) =>
    (model.aliases ?? []).filter((one) => one.version === version.version).map((one) => one.alias);

  if (versions.isError && !versions.data) return <ErrorPanel error={versions.error} retry={() => void versions.refetch()} />;
  const columns: Column<ModelVersion>[] = [
    {
      key: "version",
      title: t("column.version"),
      sortBy: (version) => Number(version.version),
      cell: (version) => (
        <>
          {version.version}
          {version.description && (
            <Text size="xs" c="dimmed" className="cut" maw={220} title={version.description}>
              {version.description}
            </Text>
          )}
        </>
      ),
    },
    {
      key: "stage",
      title: t("column.stage"),
      sortBy: (version) => version.current_stage ?? "",
      cell: (version) => <StageSelect version={version} />,
    },
    {
      key: "aliases",
      title: t("aliases"),
      sortBy: (version) => aliasesOf(version).join(),
      cell: (version) => <AliasesOfVersion version={version} aliases={aliasesOf(version)} />,
    },
    {
      key: "status",
      title: t("column.status"),
      sortBy: (version) => version.status ?? "",
      cell: (version) => <Status version={version} />,
    },
    {
      key: "created",
      title: t("created"),
      sortBy: (version) => version.creation_timestamp ?? 0,
      cell: (version) => <TimeAgo at={version.creation_timestamp} />,
    },
    { key: "creator", title: t("column.creator"), cell: (version) => <RunUser version={version} /> },
    { key: "run", title: t("column.run"), cell: (version) => <SourceRun runId={version.run_id} /> },
    {
      key: "served",
      title: t("servedBy"),
      sortBy: (version) => serving(version).length,
      cell: (version) => <EndpointLinks endpoints={serving(version)} width={100} />,
    },
    {
      key: "do",
      title: t("column.serve"),
      cell: (version) => (
        <Anchor
          component={Link}
          to={`/ml/endpoints/create?${new URLSearchParams({ model: model.name, version: version.version })}`}
          size="sm"
          style={{ overflowWrap: "normal" }}
          aria-label={t("createEndpointOf", { version: version.version })}
        >
          {t("createEndpointShort")}
        </Anchor>
      ),
    },
  ];
  return (
    <DataTable
      columns={columns}
      rows={versions.data}
      rowKey={(version) => version.version}
      label={t("versionsOf", { name: model.name })}
      defaultSort="-version"
      pageSize={PAGE}
      empty={<EmptyState title={t("noVersions.title")}>{t("noVersions.text", { name: model.name })}</EmptyState>}
    />
  );
}

function Status({ version }: { version: ModelVersion }) {
  const { t } = useTranslation("models");
  const { status = "", status_message: message } = version;
  return (
    <Text
      size="sm"
      c={status === "FAILED_REGISTRATION" ? "var(--mantine-color-error)" : undefined}
      className="cut"
      maw={200}
      title={message || undefined}
    >
      {STATUSES.includes(status) ? t(`registration.${status}`) : status || "–"}
    </Text>
  );
}
