import { Alert, Button, Checkbox, Fieldset, Group, Select, SimpleGrid, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ComputeConfig, EndpointVersionStatus, WorkloadConfigSpec } from "../../api/schema";
import { errorText, notifyDone } from "../../components/confirm";
import { TimeAgo } from "../../components/Time";
import { type ByStage, restartUpdate, updateCompute, useWorkloadSizes } from "./byStage";
import { ServiceMark } from "./ServiceMark";

const ORDER = ["Production", "Staging"];

/** What the versions of each stage run on. */
export function ComputeSettings({ name, served }: { name: string; served: ByStage }) {
  const { t } = useTranslation("models");
  const configs = [...served.status.compute_config].sort((a, b) => ORDER.indexOf(a.stage) - ORDER.indexOf(b.stage));
  return (
    <Stack gap="sm">
      <Text size="sm" c="dimmed" maw={820}>
        {t("compute.what")}
      </Text>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        {configs.map((config) => (
          <StageCompute
            key={config.stage}
            name={name}
            config={config}
            versions={served.versions.filter((version) => version.config_update_status.config.stage === config.stage)}
          />
        ))}
      </SimpleGrid>
    </Stack>
  );
}

function StageCompute({ name, config, versions }: { name: string; config: ComputeConfig; versions: EndpointVersionStatus[] }) {
  const { t } = useTranslation(["models", "common"]);
  const { stage } = config;
  const sizes = useWorkloadSizes();
  const [changed, setChanged] = useState<Partial<WorkloadConfigSpec>>({});
  const [busy, setBusy] = useState<"save" | "restart" | null>(null);
  const [problem, setProblem] = useState("");
  const workload: WorkloadConfigSpec = { ...config.workload_spec, ...changed };
  const differs =
    workload.workload_size_id !== config.workload_spec.workload_size_id ||
    workload.scale_to_zero_enabled !== config.workload_spec.scale_to_zero_enabled;
  const failed = versions.some((version) => version.config_update_status.state === "SERVICE_STATE_FAILED");

  async function run(what: "save" | "restart") {
    setBusy(what);
    setProblem("");
    try {
      await (what === "save" ? updateCompute(name, stage, workload) : restartUpdate(name, stage));
      setChanged({});
      notifyDone(t(what === "save" ? "compute.saved" : "compute.restarted", { stage }));
    } catch (error) {
      setProblem(errorText(error));
    } finally {
      setBusy(null);
    }
  }

  return (
    <Fieldset legend={stage} miw={0}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run("save");
        }}
      >
        <Stack gap="sm">
          <Select
            label={t("compute.size")}
            data={sizes.data?.map((size) => ({
              value: size.workload_size_id,
              label:
                size.min_concurrency === size.max_concurrency
                  ? t("compute.fixed", { size: size.workload_size_id, count: size.max_concurrency })
                  : t("compute.range", { size: size.workload_size_id, min: size.min_concurrency, max: size.max_concurrency }),
            }))}
            value={workload.workload_size_id}
            onChange={(value) => {
              const size = sizes.data?.find((one) => one.workload_size_id === value);
              if (size) setChanged({ ...changed, workload_size_id: size.workload_size_id });
            }}
            allowDeselect={false}
            maw={340}
          />
          <Checkbox
            label={t("compute.zero")}
            checked={workload.scale_to_zero_enabled}
            onChange={(event) => setChanged({ ...changed, scale_to_zero_enabled: event.currentTarget.checked })}
          />
          <Text size="xs" c="dimmed" component="div">
            {t("compute.by", { user: config.user_id })} <TimeAgo at={config.creation_timestamp} />
          </Text>
          {versions.map((version) => (
            <Group key={version.endpoint_version_name} gap="xs" wrap="nowrap" align="flex-start">
              <Text size="sm" style={{ whiteSpace: "nowrap" }}>
                {t("version", { version: version.endpoint_version_name })}
              </Text>
              <ServiceMark state={version.config_update_status.state} message={version.config_update_status.message} />
            </Group>
          ))}
          {versions.length === 0 && (
            <Text size="sm" c="dimmed">
              {t("compute.empty", { stage })}
            </Text>
          )}
          {problem && (
            <Alert color="red" role="alert">
              {problem}
            </Alert>
          )}
          <Group gap="xs">
            <Button type="submit" disabled={!differs} loading={busy === "save"} aria-label={t("compute.saveOf", { stage })}>
              {t("common:save")}
            </Button>
            {differs && (
              <Button variant="default" onClick={() => setChanged({})}>
                {t("common:cancel")}
              </Button>
            )}
            {failed && (
              <Button
                variant="default"
                loading={busy === "restart"}
                onClick={() => void run("restart")}
                aria-label={t("compute.restartOf", { stage })}
              >
                {t("compute.restart")}
              </Button>
            )}
          </Group>
        </Stack>
      </form>
    </Fieldset>
  );
}
