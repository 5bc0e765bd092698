import { Alert, Box, Button, Grid, Group, Stack, TextInput } from "@mantine/core";
import { type ReactNode, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { ApiError } from "../../api/client";
import { errorText } from "../../components/confirm";
import { CodePreview } from "./CodePreview";
import type { Call } from "./documents";
import { EntitiesSection } from "./EntitiesSection";
import { fieldOf, type Section } from "./fieldErrors";
import { EndpointFormProvider, type EndpointFormReturn } from "./formContext";
import { MoreSections } from "./MoreSections";
import { lacksCredential } from "./providers";
import { type EntityKind, trafficSum, type FormValues } from "./values";

interface Props {
  form: EndpointFormReturn;
  editing: boolean;
  /** What the form would send now. */
  calls: Call[];
  /** Sends it; what it throws is shown. */
  send: () => Promise<void>;
  /** The word on the button. */
  action: string;
  cancelTo: string;
  fixedKind?: EntityKind;
  /** Why served entities cannot be changed now. */
  locked?: ReactNode;
  /** Above the button: what else there is to say. */
  notice?: ReactNode;
}

/** The form, and beside it what it would send. */
export function EndpointForm({ form, editing, calls, send, action, cancelTo, fixedKind, locked, notice }: Props) {
  const { t } = useTranslation(["form", "common"]);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [opened, setOpened] = useState<Section[]>([]);
  const place = useRef<HTMLFormElement>(null);

  /** The rules that the form can tell by itself; all others are the server's to tell. */
  function ownProblems(values: FormValues): Record<string, string> {
    const problems: Record<string, string> = {};
    if (!values.name.trim()) problems.name = t("required");
    const configSent = calls.some((call) => call.part === "create" || call.part === "config");
    if (!values.entities.length && configSent) problems.entities = t("entities.needed");
    const sum = trafficSum(values.entities);
    if (values.entities.length > 1 && sum !== 100 && configSent) problems.traffic = t("traffic.wrong", { sum });
    values.entities.forEach((entity, at) => {
      if (configSent && lacksCredential(entity)) problems[`entities.${at}.external`] = t("credential.again");
    });
    return problems;
  }

  function show(problems: Record<string, string>) {
    form.setErrors(problems);
    // After the next paint, when the field is there.
    window.setTimeout(() => {
      const first = place.current?.querySelector<HTMLElement>('[aria-invalid="true"], [data-error="true"], [role="alert"]');
      first?.scrollIntoView({ block: "center" });
      if (first?.matches("input, textarea, button")) first.focus({ preventScroll: true });
      // Of a field that is not shown it is said above the button.
      setProblem(Object.values(problems).find((text) => !place.current?.textContent.includes(text)) ?? "");
    }, 50);
  }

  async function submit() {
    setProblem("");
    const own = ownProblems(form.values);
    if (Object.keys(own).length) {
      show(own);
      return;
    }
    form.clearErrors();
    setBusy(true);
    try {
      await send();
    } catch (error) {
      const found = error instanceof ApiError ? fieldOf(error, form.values) : undefined;
      if (found) {
        const { section } = found;
        if (section) setOpened((before) => (before.includes(section) ? before : [...before, section]));
        show({ [found.field]: errorText(error) });
      } else {
        setProblem(errorText(error));
      }
    } finally {
      setBusy(false);
    }
  }

  return (
    <EndpointFormProvider form={form}>
      <Grid gap="xl">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <form
            ref={place}
            noValidate
            onSubmit={(event) => {
              event.preventDefault();
              void submit();
            }}
          >
            <Stack gap="lg">
              {!editing && (
                <TextInput
                  {...form.getInputProps("name")}
                  label={t("common:name")}
                  description={t("nameHint")}
                  required
                  autoComplete="off"
                  spellCheck={false}
                  autoFocus
                />
              )}
              <EntitiesSection fixedKind={fixedKind} locked={locked} />
              <MoreSections editing={editing} opened={opened} open={setOpened} />
              {notice}
              {problem && (
                <Alert color="red" role="alert">
                  {problem}
                </Alert>
              )}
              <Group gap="xs">
                <Button type="submit" loading={busy} disabled={editing && !calls.length}>
                  {action}
                </Button>
                <Button component={Link} to={cancelTo} variant="default">
                  {t("common:cancel")}
                </Button>
              </Group>
            </Stack>
          </form>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Box pos="sticky" top={70}>
            <CodePreview calls={calls} name={form.values.name} />
          </Box>
        </Grid.Col>
      </Grid>
    </EndpointFormProvider>
  );
}
