import { ActionIcon, Button, Menu } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconChartLine,
  IconDotsVertical,
  IconLock,
  IconPencil,
  IconPlayerPlay,
  IconPlayerStop,
  IconSend,
  IconTrash,
  IconX,
} from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { client, unwrap } from "../../api/client";
import { queryClient, refreshEndpoint, stopAsking } from "../../api/queries";
import type { EndpointDetail } from "../../api/schema";
import { ConfirmModal, notifyDone, notifyFailed } from "../../components/confirm";
import { allowed, endpointPath } from "./endpointKind";
import { ExportMetricsModal } from "./ExportMetricsModal";

interface Props {
  endpoint: EndpointDetail;
  /** Told true before the endpoint is deleted, and false if that failed. */
  onRemoving: (removing: boolean) => void;
}

/** What can be done with the endpoint as it is now; what the user may not do is not there. */
export function EndpointActions({ endpoint, onRemoving }: Props) {
  const { t } = useTranslation(["endpoint", "common"]);
  const navigate = useNavigate();
  const [stopping, ask] = useDisclosure();
  const [deleting, askDelete] = useDisclosure();
  const [exporting, showExport] = useDisclosure();
  const [busy, setBusy] = useState<"start" | "cancel" | null>(null);
  const { name } = endpoint;
  const can = allowed(endpoint);
  const params = { path: { name } };

  async function start() {
    setBusy("start");
    try {
      await unwrap(client.POST("/api/2.0/serving-endpoints/{name}/config:start", { params }));
      notifyDone(t("done.started", { name }));
      await refreshEndpoint(name);
    } catch (error) {
      notifyFailed(error);
    } finally {
      setBusy(null);
    }
  }

  async function cancelUpdate() {
    setBusy("cancel");
    try {
      await unwrap(client.POST("/api/2.0/serving-endpoints/{name}/config:cancel", { params }));
      notifyDone(t("done.canceled", { name }));
    } catch (error) {
      notifyFailed(error); // it may have ended just before
    } finally {
      await refreshEndpoint(name);
      setBusy(null);
    }
  }

  async function stop() {
    await unwrap(client.POST("/api/2.0/serving-endpoints/{name}/config:stop", { params }));
    notifyDone(t("done.stopped", { name }));
    await refreshEndpoint(name);
  }

  async function remove() {
    onRemoving(true);
    try {
      await stopAsking(["endpoint", name]);
      await unwrap(client.DELETE("/api/2.0/serving-endpoints/{name}", { params }));
    } catch (error) {
      onRemoving(false);
      throw error;
    }
    notifyDone(t("done.deleted", { name }));
    await navigate("/ml/endpoints");
    queryClient.removeQueries({ queryKey: ["endpoint", name] });
    await queryClient.invalidateQueries({ queryKey: ["endpoints"] });
  }

  return (
    <>
      {can.cancel && (
        <Button variant="default" leftSection={<IconX size={15} />} loading={busy === "cancel"} onClick={() => void cancelUpdate()}>
          {t("action.cancelUpdate")}
        </Button>
      )}
      {can.stop && (
        <Button variant="default" leftSection={<IconPlayerStop size={15} />} onClick={ask.open}>
          {t("action.stop")}
        </Button>
      )}
      {can.start && (
        <Button variant="default" leftSection={<IconPlayerPlay size={15} />} loading={busy === "start"} onClick={() => void start()}>
          {t("action.start")}
        </Button>
      )}
      {can.edit && (
        <Button variant="default" leftSection={<IconPencil size={15} />} onClick={() => void navigate(endpointPath(name, "edit"))}>
          {t("common:edit")}
        </Button>
      )}
      {endpoint.permission_level !== "CAN_VIEW" && (
        <Button leftSection={<IconSend size={15} />} onClick={() => void navigate(endpointPath(name, "query"))}>
          {t("action.use")}
        </Button>
      )}
      <Menu position="bottom-end">
        <Menu.Target>
          <ActionIcon variant="default" size={36} aria-label={t("action.more")}>
            <IconDotsVertical size={16} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {can.manage && (
            <Menu.Item leftSection={<IconLock size={15} />} onClick={() => void navigate(endpointPath(name, "settings"))}>
              {t("action.permissions")}
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconChartLine size={15} />} onClick={showExport.open}>
            {t("action.exportMetrics")}
          </Menu.Item>
          {can.remove && (
            <>
              <Menu.Divider />
              <Menu.Item leftSection={<IconTrash size={15} />} c="var(--mantine-color-error)" onClick={askDelete.open}>
                {t("common:delete")}
              </Menu.Item>
            </>
          )}
        </Menu.Dropdown>
      </Menu>
      <ConfirmModal opened={stopping} close={ask.close} title={t("stop.title", { name })} action={t("action.stop")} run={stop}>
        {t("stop.text")}
      </ConfirmModal>
      <ConfirmModal
        opened={deleting}
        close={askDelete.close}
        title={t("delete.title", { name })}
        action={t("common:delete")}
        typed={name}
        run={remove}
      >
        {t(endpoint.legacy_serving ? "delete.legacy" : "delete.text")}
      </ConfirmModal>
      <ExportMetricsModal name={name} opened={exporting} close={showExport.close} />
    </>
  );
}
