import { Alert, Anchor, Button, Group, Text } from "@mantine/core";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link, useNavigate, useParams } from "react-router";
import { requestJson } from "../../api/client";
import { isUpdating, refreshEndpoint, useEndpoint } from "../../api/queries";
import type { EndpointDetail } from "../../api/schema";
import { errorText, notifyDone } from "../../components/confirm";
import { ErrorPanel } from "../../components/ErrorPanel";
import { PageHeader } from "../../components/PageHeader";
import { PageSkeleton } from "../../components/PageSkeleton";
import { type Call, updateCalls } from "./documents";
import { EndpointForm } from "./EndpointForm";
import { type EndpointFormReturn, useEndpointForm } from "./formContext";
import { configToEdit, entities, fromDetail } from "./fromDetail";
import { type FormValues, kindOf } from "./values";

/** Everything of an endpoint that can be changed; what has been changed is sent, each part by its own call. */
export default function EditEndpointPage() {
  const { t } = useTranslation(["form", "common"]);
  const { name = "" } = useParams();
  const { data, error, refetch } = useEndpoint(name);
  const endpointPath = `/ml/endpoints/${encodeURIComponent(name)}`;
  const crumbs = [
    { label: t("common:nav.serving"), to: "/ml/endpoints" },
    { label: name, to: endpointPath },
  ];
  const refusal = data && whyNotHere(data);
  const staged = data?.legacy_serving?.registered_model_name ?? "";
  return (
    <>
      <PageHeader title={t("editTitle", { name })} crumbs={crumbs} />
      {error && !data && <ErrorPanel error={error} retry={() => void refetch()} />}
      {!error && !data && <PageSkeleton />}
      {data && refusal && (
        <Alert color="gray" title={t("edit.notHere")} role="alert">
          <Text size="sm" mb="xs">
            {t(`edit.${refusal}`, { model: staged })}
          </Text>
          <Anchor
            component={Link}
            size="sm"
            to={refusal === "legacy" ? `/ml/models/${encodeURIComponent(staged)}/serving` : endpointPath}
          >
            {t(refusal === "legacy" ? "edit.toModel" : "edit.toEndpoint")}
          </Anchor>
        </Alert>
      )}
      {data && !refusal && <EditForm key={data.id} detail={data} />}
    </>
  );
}

function whyNotHere(detail: EndpointDetail): "foundation" | "legacy" | "forbidden" | undefined {
  if (detail.endpoint_type === "FOUNDATION_MODEL_API") return "foundation";
  if (detail.permission_level !== "CAN_MANAGE") return "forbidden";
  return detail.legacy_serving ? "legacy" : undefined;
}

interface Outcome {
  done: Call[];
  failed: Call;
  reason: string;
  left: Call[];
}

function EditForm({ detail }: { detail: EndpointDetail }) {
  const { t } = useTranslation("form");
  const navigate = useNavigate();
  const endpointPath = `/ml/endpoints/${encodeURIComponent(detail.name)}`;
  const form = useEndpointForm({ initialValues: fromDetail(detail) });
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const updating = isUpdating(detail);
  const locked = updating || !!detail.stopped;
  const base = baseline(detail, locked);
  // What was changed before an update by somebody else began waits for its end.
  const calls = updateCalls(detail.name, base, form.values).filter((call) => !(locked && call.part === "config"));
  useFollowing(detail, form);

  async function update() {
    setOutcome(null);
    for (const [at, call] of calls.entries()) {
      try {
        await requestJson(call.method, call.path, call.body);
      } catch (error) {
        // The server's message is shown by its field where it names one; what became of the other parts, above the button.
        if (calls.length > 1) setOutcome({ done: calls.slice(0, at), failed: call, reason: errorText(error), left: calls.slice(at + 1) });
        await refreshEndpoint(detail.name);
        throw error;
      }
    }
    await refreshEndpoint(detail.name);
    notifyDone(t("updated", { name: detail.name }));
    void navigate(endpointPath);
  }

  const failedPending = detail.config && detail.pending_config && !updating ? detail.pending_config : undefined;
  return (
    <EndpointForm
      form={form}
      editing
      calls={calls}
      send={update}
      action={t("update")}
      cancelTo={endpointPath}
      fixedKind={kindOf(fromDetail(detail))}
      locked={
        locked && (
          <Notice>
            {updating ? t("edit.updating") : t("edit.stopped")}{" "}
            <Anchor component={Link} to={endpointPath} size="sm">
              {t("edit.toEndpoint")}
            </Anchor>
          </Notice>
        )
      }
      notice={
        <>
          {failedPending && (
            <Notice>
              <Group gap="xs" justify="space-between">
                <Text size="sm">{t("edit.lastFailed", { version: failedPending.config_version })}</Text>
                <Button size="xs" variant="default" onClick={() => form.setFieldValue("entities", entities(failedPending))}>
                  {t("edit.takeFailed")}
                </Button>
              </Group>
            </Notice>
          )}
          {outcome && <OutcomeAlert outcome={outcome} />}
        </>
      }
    />
  );
}

/** What the server has, to compare with. Where no configuration serves, one is always to be sent, unless none can be. */
function baseline(detail: EndpointDetail, locked: boolean): FormValues {
  const values = fromDetail(detail, configToEdit(detail));
  return detail.config || locked ? values : { ...values, entities: [] };
}

/** What has not been changed in the form shows what the server has: sending it must not take back what others have changed meanwhile. */
function useFollowing(detail: EndpointDetail, form: EndpointFormReturn) {
  const seen = useRef(detail);
  useEffect(() => {
    if (seen.current === detail) return;
    const before = fromDetail(seen.current);
    const now = fromDetail(detail);
    seen.current = detail;
    for (const field of Object.keys(now) as (keyof FormValues)[]) {
      if (!alike(before[field], now[field]) && alike(before[field], form.values[field])) form.setFieldValue(field, now[field]);
    }
  });
}

/** Whether both say the same; the ids are those of rows of the form. */
function alike(one: unknown, other: unknown): boolean {
  const text = (value: unknown) => JSON.stringify(value, (key, inner: unknown) => (key === "id" ? undefined : inner));
  return text(one) === text(other);
}

function Notice({ children }: { children: ReactNode }) {
  return (
    <Alert color="gray" py="xs" role="status">
      {children}
    </Alert>
  );
}

function OutcomeAlert({ outcome }: { outcome: Outcome }) {
  const { t } = useTranslation("form");
  const parts = (calls: Call[]) => calls.map((call) => t(`parts.${call.part}`)).join(", ");
  return (
    <Alert color="red" role="alert" title={t("edit.partly", { part: t(`parts.${outcome.failed.part}`) })}>
      <Text size="sm">{outcome.reason}</Text>
      {outcome.done.length > 0 && <Text size="sm">{t("edit.done", { parts: parts(outcome.done) })}</Text>}
      {outcome.left.length > 0 && <Text size="sm">{t("edit.notSent", { parts: parts(outcome.left) })}</Text>}
    </Alert>
  );
}
