import { Anchor, Input, SegmentedControl, Select, Stack, useMantineColorScheme } from "@mantine/core";
import { useId } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useSession } from "../../../api/queries";
import { CodeTabs, CopyableText } from "../../../components/Copy";
import { changeLanguage, type Language, LANGUAGES } from "../../../i18n";
import { Facts } from "../parts/Facts";
import { Section } from "../parts/Section";
import { Health } from "./Health";
import { snippets } from "./snippets";

export default function AboutTab() {
  const { t } = useTranslation(["settings", "common"]);
  const session = useSession();
  const host = window.location.origin;
  return (
    <>
      <Section title={t("about.server")}>
        <Facts
          label={t("about.server")}
          rows={[
            { name: t("about.version"), value: `Moorage ${session.data?.version ?? ""}` },
            { name: t("about.address"), value: <CopyableText value={host} label={t("copyNamed", { name: t("about.address") })} /> },
            {
              name: t("about.openai"),
              value: <CopyableText value={`${host}/serving-endpoints`} label={t("copyNamed", { name: t("about.openai") })} />,
            },
            { name: t("about.signedInAs"), value: session.data?.user_name },
            {
              name: "MLflow",
              value: (
                <Anchor href="/mlflow/" inherit>
                  {t("about.mlflow")}
                </Anchor>
              ),
            },
          ]}
        />
      </Section>
      <Health />
      <Section
        title={t("about.clients")}
        hint={
          <>
            {t("about.clientsHint")}{" "}
            <Anchor component={Link} to="/settings/tokens" inherit underline="always">
              {t("tokens.generate")}
            </Anchor>
          </>
        }
      >
        <CodeTabs items={snippets(host)} />
      </Section>
      <Appearance />
    </>
  );
}

function Appearance() {
  const { t, i18n } = useTranslation(["settings", "common"]);
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const label = useId();
  return (
    <Section title={t("about.appearance")} hint={t("about.appearanceHint")}>
      <Stack gap="sm" maw={320}>
        <Select
          label={t("common:language")}
          data={(Object.keys(LANGUAGES) as Language[]).map((one) => ({ value: one, label: LANGUAGES[one] }))}
          value={i18n.language}
          onChange={(chosen) => chosen && void changeLanguage(chosen as Language)}
          allowDeselect={false}
        />
        <Stack gap={2}>
          <Input.Label labelElement="div" id={label}>
            {t("about.colours")}
          </Input.Label>
          <SegmentedControl
            aria-labelledby={label}
            data={(["auto", "light", "dark"] as const).map((one) => ({ value: one, label: t(`about.schemes.${one}`) }))}
            value={colorScheme}
            onChange={setColorScheme}
          />
        </Stack>
      </Stack>
    </Section>
  );
}
