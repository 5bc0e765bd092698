import { Anchor, Button, Group, Select, Skeleton, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import { client, unwrap } from "../../../api/client";
import { queryClient, refreshEndpoint } from "../../../api/queries";
import type { EndpointDetail } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { ErrorPanel } from "../../../components/ErrorPanel";
import { TitledSection } from "../TitledSection";
import { changed, type FixedGrant, type Grant, LEVELS, requestOf, rowsOf, sameAs } from "./permissionRows";
import { PermissionTable } from "./PermissionTable";
import { PrincipalSearch } from "./PrincipalSearch";
import type { Principal } from "./principals";
import { SettingsSection } from "./SettingsSection";
import { useDraft } from "./useDraft";
import { useSave } from "./useSave";

/** Who may do what with the endpoint. */
export function PermissionsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation("endpoint");
  const params = { path: { object_type: "serving-endpoints", object_id: endpoint.id } };
  const { data, error, refetch } = useQuery({
    queryKey: ["permissions", "serving-endpoints", endpoint.id],
    queryFn: () => unwrap(client.GET("/api/2.0/permissions/{object_type}/{object_id}", { params })),
  });
  if (error && !data) {
    return (
      <TitledSection title={t("permissions.title")}>
        <ErrorPanel error={error} retry={() => void refetch()} />
      </TitledSection>
    );
  }
  if (!data) {
    return (
      <TitledSection title={t("permissions.title")}>
        <Skeleton height={120} />
      </TitledSection>
    );
  }
  const rows = rowsOf(data.access_control_list, endpoint);
  if (endpoint.legacy_serving) return <ModelsPermissions model={endpoint.legacy_serving.registered_model_name} {...rows} />;
  return <PermissionsForm endpoint={endpoint} {...rows} />;
}

interface Rows {
  grants: Grant[];
  fixed: FixedGrant[];
}

/** Where a registered model is served by stage, the permissions are the model's. */
function ModelsPermissions({ model, grants, fixed }: Rows & { model: string }) {
  const { t } = useTranslation("endpoint");
  return (
    <TitledSection title={t("permissions.title")}>
      <Text size="sm" c="dimmed">
        <Trans
          t={t}
          i18nKey="permissions.ofModel"
          values={{ model }}
          components={{ to: <Anchor component={Link} inherit to={`/ml/models/${encodeURIComponent(model)}`} /> }}
        />
      </Text>
      <PermissionTable grants={[]} fixed={[...fixed, ...grants]} />
    </TitledSection>
  );
}

function PermissionsForm({ endpoint, grants, fixed }: Rows & { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const draft = useDraft(grants);
  const save = useSave();
  const [principal, setPrincipal] = useState<Principal | null>(null);
  const [level, setLevel] = useState<string>("CAN_QUERY");

  function add() {
    if (!principal) return;
    draft.set([...draft.value.filter((one) => !sameAs(principal)(one)), { ...principal, level }]);
    setPrincipal(null);
  }

  async function submit() {
    const params = { path: { object_type: "serving-endpoints", object_id: endpoint.id } };
    const path = "/api/2.0/permissions/{object_type}/{object_id}";
    const removed = draft.before.filter((grant) => !draft.value.some(sameAs(grant)));
    const given = changed(draft.before, draft.value);
    const kept = grants.filter((grant) => ![...removed, ...given].some(sameAs(grant)));
    // Only what is taken away needs the whole list to be replaced: what others add meanwhile stays.
    const answer =
      removed.length > 0
        ? await unwrap(client.PUT(path, { params, body: { access_control_list: [...kept, ...given].map(requestOf) } }))
        : await unwrap(client.PATCH(path, { params, body: { access_control_list: given.map(requestOf) } }));
    queryClient.setQueryData(["permissions", "serving-endpoints", endpoint.id], answer);
    draft.reset();
    notifyDone(t("common:saved"));
    await refreshEndpoint(endpoint.name);
  }

  return (
    <SettingsSection
      title={t("permissions.title")}
      description={t("permissions.description")}
      draft={draft}
      save={save}
      problem={save.rest([])}
      submit={submit}
    >
      <PermissionTable grants={draft.value} fixed={fixed} onChange={draft.set} />
      <Group gap="xs" align="flex-end">
        <div style={{ flex: "1 1 16rem", maxWidth: 420 }}>
          <PrincipalSearch
            kinds={["user", "group", "servicePrincipal"]}
            value={principal}
            onChange={setPrincipal}
            label={t("permissions.add")}
          />
        </div>
        <Select
          label={t("permissions.level")}
          data={LEVELS}
          value={level}
          onChange={(to) => to && setLevel(to)}
          allowDeselect={false}
          w={160}
        />
        <Button variant="default" disabled={!principal} onClick={add}>
          {t("common:add")}
        </Button>
      </Group>
    </SettingsSection>
  );
}
