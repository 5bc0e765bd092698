import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useSearchParams } from "react-router";
import { requestJson } from "../../api/client";
import { refreshEndpoint } from "../../api/queries";
import { useModelVersions } from "../../api/registry";
import { notifyDone } from "../../components/confirm";
import { PageHeader } from "../../components/PageHeader";
import { createCall } from "./documents";
import { EndpointForm } from "./EndpointForm";
import { useEndpointForm } from "./formContext";
import { newEntity, newValues } from "./values";

/** A new endpoint. `?model=NAME&version=V` chooses its first served entity. */
export default function CreateEndpointPage() {
  const { t } = useTranslation(["form", "common"]);
  const navigate = useNavigate();
  const [params] = useSearchParams();
  const model = params.get("model") ?? "";
  const version = params.get("version") ?? "";
  const form = useEndpointForm({
    initialValues: newValues({ entities: model ? [newEntity("custom", { entityName: model, entityVersion: version })] : [] }),
  });
  // Without a version it is the newest.
  const newest = useModelVersions(model && !version ? model : "").data?.[0]?.version;
  const given = form.values.entities[0];
  useEffect(() => {
    if (newest && given && given.entityName === model && !given.entityVersion) form.setFieldValue("entities.0.entityVersion", newest);
  });

  const call = createCall(form.values);
  async function create() {
    await requestJson(call.method, call.path, call.body);
    const name = form.values.name.trim();
    await refreshEndpoint(name);
    notifyDone(t("created", { name }));
    void navigate(`/ml/endpoints/${encodeURIComponent(name)}`);
  }

  return (
    <>
      <PageHeader title={t("createTitle")} crumbs={[{ label: t("common:nav.serving"), to: "/ml/endpoints" }]} />
      <EndpointForm form={form} editing={false} calls={[call]} send={create} action={t("create")} cancelTo="/ml/endpoints" />
    </>
  );
}
