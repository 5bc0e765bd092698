import {
  ActionIcon,
  Anchor,
  AppShell,
  Burger,
  Group,
  Image,
  Menu,
  NavLink,
  ScrollArea,
  Text,
  useComputedColorScheme,
  useMantineColorScheme,
  useMantineTheme,
} from "@mantine/core";
import { useDisclosure, useHotkeys, useMediaQuery } from "@mantine/hooks";
import { IconBoxModel2, IconExternalLink, IconHome, IconLanguage, IconLogout, IconMoon, IconServer, IconSettings, IconSun, IconUser } from "@tabler/icons-react";
import { Suspense } from "react";
import { useTranslation } from "react-i18next";
import { Link, Navigate, Outlet, useLocation } from "react-router";
import { ApiError, client, unwrap } from "../api/client";
import { useSession } from "../api/queries";
import { changeLanguage, type Language, LANGUAGES } from "../i18n";
import { notifyFailed } from "./confirm";
import { ErrorBoundary } from "./ErrorBoundary";
import { ErrorPanel } from "./ErrorPanel";
import { PageSkeleton } from "./PageSkeleton";

export function ThemeSwitch() {
  const { t } = useTranslation();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  return (
    <ActionIcon variant="subtle" color="gray" onClick={() => setColorScheme(dark ? "light" : "dark")} aria-label={t(dark ? "theme.light" : "theme.dark")}>
      {dark ? <IconSun size={18} /> : <IconMoon size={18} />}
    </ActionIcon>
  );
}

export function LanguageMenu() {
  const { t, i18n } = useTranslation();
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={t("language")}>
          <IconLanguage size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {(Object.keys(LANGUAGES) as Language[]).map((one) => (
          <Menu.Item key={one} lang={one} onClick={() => void changeLanguage(one)} fw={i18n.language === one ? 700 : undefined}>
            {LANGUAGES[one]}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

async function signOut() {
  try {
    await unwrap(client.DELETE("/api/2.0/moorage/session"));
  } catch (error) {
    const ended = error instanceof ApiError && (error.status === 401 || error.status === 403);
    if (!ended) {
      notifyFailed(error);
      return;
    }
  }
  window.location.assign("/login");
}

/** The frame of every page but the sign-in: sidebar, top bar, and who is signed in. */
export function Shell() {
  const { t } = useTranslation();
  const [opened, { toggle, close }] = useDisclosure();
  const { breakpoints } = useMantineTheme();
  const narrow = useMediaQuery(`(max-width: calc(${breakpoints.sm} - 0.1px))`, false, { getInitialValueInEffect: false });
  useHotkeys([["Escape", close]]);
  const location = useLocation();
  const session = useSession();
  // A server that is away for a moment does not take away the page and what was typed on it.
  if (session.isError && !session.data) return <ErrorPanel error={session.error} retry={() => void session.refetch()} />;
  if (!session.data) return <PageSkeleton />;
  if (!session.data.user_name) {
    const here = location.pathname + location.search;
    return <Navigate to={here === "/" ? "/login" : `/login?${new URLSearchParams({ return_to: here })}`} replace />;
  }
  // The tabs of one object are one page: going through them keeps the focus on the tab and what was typed in the others.
  const shown = location.pathname.split("/").slice(0, location.pathname.startsWith("/settings") ? 2 : 4).join("/");
  const places = [
    { to: "/", label: t("nav.home"), icon: IconHome, current: location.pathname === "/" },
    { to: "/ml/endpoints", label: t("nav.serving"), icon: IconServer, current: location.pathname.startsWith("/ml/endpoints") },
    { to: "/ml/models", label: t("nav.models"), icon: IconBoxModel2, current: location.pathname.startsWith("/ml/models") },
    { to: "/settings", label: t("nav.settings"), icon: IconSettings, current: location.pathname.startsWith("/settings") },
  ];
  return (
    <AppShell header={{ height: 48 }} navbar={{ width: 190, breakpoint: "sm", collapsed: { mobile: !opened } }} padding="md">
      <a className="skip-link" href="#main">
        {t("skipToContent")}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t("nav.toggle")} aria-expanded={opened} />
            <Anchor component={Link} to="/" c="inherit" underline="never">
              <Group gap={8} wrap="nowrap">
                <Image src="/favicon.svg" w={22} h={22} alt="" />
                <Text fw={650} size="md">
                  Moorage
                </Text>
              </Group>
            </Anchor>
          </Group>
          <Group gap={4} wrap="nowrap">
            <ThemeSwitch />
            <LanguageMenu />
            <Menu position="bottom-end">
              <Menu.Target>
                <ActionIcon variant="subtle" color="gray" aria-label={t("account")}>
                  <IconUser size={18} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label maw={260} className="cut" title={session.data.user_name}>
                  {session.data.display_name || session.data.user_name}
                </Menu.Label>
                <Menu.Item leftSection={<IconLogout size={15} />} onClick={() => void signOut()}>
                  {t("signOut")}
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar aria-label={t("nav.main")} inert={narrow && !opened}>
        <AppShell.Section grow component={ScrollArea}>
          {places.map(({ to, label, icon: Icon, current }) => (
            <NavLink
              key={to}
              component={Link}
              to={to}
              label={label}
              leftSection={<Icon size={18} />}
              active={current}
              aria-current={current ? "page" : undefined}
              variant="light"
              onClick={close}
            />
          ))}
        </AppShell.Section>
        <AppShell.Section>
          <NavLink component="a" href="/mlflow/" label={t("nav.experiments")} leftSection={<IconExternalLink size={18} />} />
          <Text size="xs" c="dimmed" px="sm" py={6}>
            Moorage {session.data.version}
          </Text>
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <ErrorBoundary key={shown} at={location.pathname}>
          <Suspense fallback={<PageSkeleton />}>
            <Outlet />
          </Suspense>
        </ErrorBoundary>
      </AppShell.Main>
    </AppShell>
  );
}
