import { useTranslation } from "react-i18next";
import type { DeploymentState as State } from "../../api/schema";
import { StateMark, type Tone } from "./StateMark";

const TONES: Record<string, Tone> = { CREATING: "busy", READY: "good", FAILED: "bad", ABORTED: "off", RECOVERING: "recovering" };

/** How a served entity is; that of a stopped endpoint, which the API calls aborted, is stopped. */
export function DeploymentState({ state, stopped }: { state: State; stopped?: boolean }) {
  const { t } = useTranslation(["endpoint", "common"]);
  if (stopped) return <StateMark tone="off" word={t("common:condition.stopped")} />;
  const word = state.deployment.replace("DEPLOYMENT_", "");
  const tone = TONES[word];
  const shown = tone ? t(`deployment.${word}`) : state.deployment;
  return <StateMark tone={tone ?? "off"} word={shown} title={state.deployment_state_message || undefined} />;
}
