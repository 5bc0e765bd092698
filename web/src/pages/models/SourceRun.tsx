import { Anchor, Skeleton, Text } from "@mantine/core";
import type { ModelVersion } from "../../api/registry";
import { useRun } from "./registered";

function Nothing() {
  return (
    <Text size="sm" c="dimmed">
      –
    </Text>
  );
}

/** The run that logged the model, in MLflow's pages. */
export function SourceRun({ runId }: { runId: string | undefined }) {
  const run = useRun(runId);
  if (!runId) return <Nothing />;
  if (run.isPending) return <Skeleton height={14} width={90} />;
  if (!run.data) {
    return (
      <Text size="sm" c="dimmed" className="cut mono" maw={120} title={runId}>
        {runId}
      </Text>
    );
  }
  return (
    <Anchor
      href={`/mlflow/#/experiments/${run.data.experimentId}/runs/${runId}`}
      size="sm"
      className="cut"
      display="block"
      maw={130}
      title={run.data.name ?? runId}
    >
      {run.data.name || runId}
    </Anchor>
  );
}

/** Who made a version: whom the registry names, else whose run it was. */
export function RunUser({ version }: { version: ModelVersion }) {
  const run = useRun(version.user_id ? undefined : version.run_id);
  const user = version.user_id || run.data?.user;
  if (!user) return run.isLoading ? <Skeleton height={14} width={60} /> : <Nothing />;
  return (
    <Text size="sm" className="cut" maw={130} title={user}>
      {user}
    </Text>
  );
}
