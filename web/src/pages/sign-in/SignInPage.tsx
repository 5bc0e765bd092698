import { Alert, Button, Center, Divider, Group, Image, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Trans, useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";
import { ApiError, client, unwrap } from "../../api/client";
import { useSession } from "../../api/queries";
import { errorText } from "../../components/confirm";
import { LanguageMenu, ThemeSwitch } from "../../components/Shell";

/** A path of this server, as the browser reads it, or the front page: where to go is not for strangers to say. */
function localPath(path: string | null): string {
  const { origin } = window.location;
  if (!path?.startsWith("/") || !URL.canParse(path, origin)) return "/";
  const url = new URL(path, origin);
  return url.origin === origin ? url.pathname + url.search + url.hash : "/";
}

/** With a token, or at the organisation's OpenID Connect provider where there is one. */
export default function SignInPage() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const [token, setToken] = useState("");
  const [refused, setRefused] = useState(false);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const session = useSession();
  const returnTo = localPath(params.get("return_to"));

  useEffect(() => {
    document.title = `${t("signIn.title")} · Moorage`;
  }, [t]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setRefused(false);
    setProblem("");
    try {
      await unwrap(client.POST("/api/2.0/moorage/session", { body: { token: token.trim() } }));
      window.location.assign(returnTo); // the server's own pages (consent) are reached like ours
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) setRefused(true);
      else setProblem(errorText(error));
      setBusy(false);
      field.current?.select();
    }
  }

  return (
    <Center mih="100vh" p="md" component="main">
      <Stack w="100%" maw={380} gap="md">
        <Group justify="space-between" gap="xs" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Image src="/favicon.svg" w={28} h={28} alt="" />
            <Title order={1}>{t("signIn.title")}</Title>
          </Group>
          <Group gap={2} wrap="nowrap">
            <ThemeSwitch />
            <LanguageMenu />
          </Group>
        </Group>
        {session.data?.sign_in_with_provider && (
          <>
            <Button component="a" href={`/oidc/login?${new URLSearchParams({ return_to: returnTo })}`} size="md">
              {t("signIn.provider")}
            </Button>
            <Divider label={t("signIn.or")} />
          </>
        )}
        <form onSubmit={(event) => void submit(event)}>
          <Stack gap="sm">
            <PasswordInput
              label={t("signIn.token")}
              description={t("signIn.hint")}
              value={token}
              onChange={(event) => setToken(event.currentTarget.value)}
              autoComplete="off"
              required
              withAsterisk={false}
              autoFocus
              ref={field}
              error={refused && t("signIn.refused")}
              visibilityToggleButtonProps={{ "aria-label": t("signIn.show") }}
            />
            {problem && (
              <Alert color="red" role="alert">
                {problem}
              </Alert>
            )}
            <Button type="submit" loading={busy} variant={session.data?.sign_in_with_provider ? "default" : "filled"} size="md">
              {t("signIn.submit")}
            </Button>
          </Stack>
        </form>
        <Text size="xs" c="dimmed">
          <Trans t={t} i18nKey="signIn.first" components={{ command: <span className="mono" /> }} />
        </Text>
      </Stack>
    </Center>
  );
}
