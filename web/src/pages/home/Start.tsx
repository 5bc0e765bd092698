import { Anchor, Text, Timeline, Title } from "@mantine/core";
import { IconCheck } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { Trans, useTranslation } from "react-i18next";
import { Link } from "react-router";
import { useAnyModel } from "../../api/registry";
import { CodeBlock, CodeTabs } from "../../components/Copy";
import { Section } from "./Section";
import { createCurl, createPython, environment, logModel, queryCurl, queryPython } from "./startCode";

function Hint({ children }: { children: ReactNode }) {
  return (
    <Text size="sm" mb="xs" component="div">
      {children}
    </Text>
  );
}

/** The way from nothing to an answer, for a workspace in which nothing is served yet. */
export function Start() {
  const { t } = useTranslation("home");
  const logged = useAnyModel().data === true;
  const step = (title: string) => (
    <Title order={3} fz="md">
      {title}
    </Title>
  );
  const links = {
    tokens: <Anchor component={Link} to="/settings/tokens" inherit underline="always" />,
    models: <Anchor component={Link} to="/ml/models" inherit underline="always" />,
    form: <Anchor component={Link} to="/ml/endpoints/create" inherit underline="always" />,
  };
  return (
    <Section title={t("start.title")}>
      <Hint>
        <Trans t={t} i18nKey="start.connectHint" components={links} />
      </Hint>
      <CodeBlock code={environment(window.location.origin)} label={t("start.connect")} />
      <Timeline active={logged ? 1 : 0} bulletSize={22} lineWidth={2} mt="md">
        <Timeline.Item bullet={logged ? <IconCheck size={14} aria-label={t("start.done")} /> : "1"} title={step(t("start.log"))}>
          <Hint>
            <Trans t={t} i18nKey={logged ? "start.logDone" : "start.logHint"} components={links} />
          </Hint>
          <CodeBlock code={logModel()} label={t("start.log")} />
        </Timeline.Item>
        <Timeline.Item bullet="2" title={step(t("start.create"))}>
          <Hint>
            <Trans t={t} i18nKey="start.createHint" components={links} />
          </Hint>
          <CodeTabs
            label={t("start.create")}
            items={[
              { label: "Python", code: createPython },
              { label: "curl", code: createCurl },
            ]}
          />
        </Timeline.Item>
        <Timeline.Item bullet="3" title={step(t("start.query"))}>
          <Hint>{t("start.queryHint")}</Hint>
          <CodeTabs
            label={t("start.query")}
            items={[
              { label: "Python", code: queryPython },
              { label: "curl", code: queryCurl },
            ]}
          />
        </Timeline.Item>
      </Timeline>
    </Section>
  );
}
