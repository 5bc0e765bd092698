import { Checkbox, Select, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelVersion } from "../../api/registry";
import { ConfirmModal, notifyDone } from "../../components/confirm";
import { isServedStage, STAGES, transitionStage } from "./registered";

/** The stage of a version. Choosing another asks first: what is in a served stage answers requests. */
export function StageSelect({ version }: { version: ModelVersion }) {
  const { t } = useTranslation("models");
  const [wanted, setWanted] = useState<string | null>(null);
  // The dialog keeps its words while it goes away.
  const [asked, setAsked] = useState("None");
  const [archive, setArchive] = useState(false);
  const [comment, setComment] = useState("");
  const current = version.current_stage || "None";
  const served = isServedStage(asked);

  function choose(stage: string | null) {
    if (!stage || stage === current) return;
    setArchive(false);
    setComment("");
    setAsked(stage);
    setWanted(stage);
  }
  async function move() {
    await transitionStage({
      name: version.name,
      version: version.version,
      stage: asked,
      archive_existing_versions: served && archive,
      comment: comment.trim(),
    });
    notifyDone(t("transition.done", { version: version.version, stage: asked }));
  }

  return (
    <>
      <Select
        size="xs"
        w={116}
        aria-label={t("stageOf", { version: version.version })}
        data={STAGES}
        value={current}
        onChange={choose}
        allowDeselect={false}
        comboboxProps={{ width: 160, position: "bottom-start" }}
      />
      <ConfirmModal
        opened={wanted !== null}
        close={() => setWanted(null)}
        title={t("transition.title", { version: version.version, stage: asked })}
        action={t("transition.action")}
        destructive={asked === "Archived"}
        run={move}
      >
        <Stack gap="sm">
          <Text size="sm">
            {t(`transition.${served ? "served" : isServedStage(current) ? "leaves" : "plain"}`, { stage: asked, from: current })}
          </Text>
          {served && (
            <Checkbox label={t("transition.archive")} checked={archive} onChange={(event) => setArchive(event.currentTarget.checked)} />
          )}
          <TextInput
            label={t("transition.comment")}
            description={t("transition.commentHint")}
            value={comment}
            onChange={(event) => setComment(event.currentTarget.value)}
            autoComplete="off"
            data-autofocus
          />
        </Stack>
      </ConfirmModal>
    </>
  );
}
