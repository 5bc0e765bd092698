import { ActionIcon, Box, Button, Group, Skeleton, Stack, Switch, Text, Tooltip } from "@mantine/core";
import { IconArrowDown, IconArrowUp, IconDownload } from "@tabler/icons-react";
import { lazy, type ReactNode, Suspense, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import type { FollowState } from "../../api/follow";
import { EmptyState } from "../../components/EmptyState";
import { UrlSearch, useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import { FollowStatus } from "./FollowStatus";
import { type Log, matching } from "./lines";
import type { LogTextHandle } from "./LogText";
import { useStreamedLog, useTextLog } from "./useLog";

const LogText = lazy(() => import("./LogText"));

interface ViewProps {
  /** What log it is, for the reader of the screen. */
  label: string;
  /** Of what is downloaded. */
  fileName: string;
  /** Instead of no lines. */
  empty?: ReactNode;
  /** Of the lines: CSS. */
  height?: string;
}

interface StreamProps extends ViewProps {
  /** A stream of server-sent `line` events. */
  url: string;
  /** Begins anew, offered when the stream is lost. */
  reconnect?: () => void;
}

interface TextProps extends ViewProps {
  text: string;
}

/**
 * A log to read, search and download: what a stream tells (`url`), or a text that may grow (`text`).
 * What is searched for (`q`, `only`) and whether lines are wrapped (`wrap`) is in the page's address.
 */
export function LogViewer(props: StreamProps | TextProps) {
  if ("url" in props) return <StreamedLog key={props.url} {...props} />;
  return <TextLog {...props} />;
}

function StreamedLog({ url, reconnect, ...rest }: StreamProps) {
  const { log, state } = useStreamedLog(url);
  return <LogView {...rest} log={log} state={state} reconnect={reconnect} />;
}

function TextLog({ text, ...rest }: TextProps) {
  return <LogView {...rest} log={useTextLog(text)} />;
}

interface LogViewProps extends ViewProps {
  log: Log;
  state?: FollowState;
  reconnect?: () => void;
}

function LogView({ log, state, reconnect, label, fileName, empty, height = "max(20rem, calc(100dvh - 22rem))" }: LogViewProps) {
  const { t, i18n } = useTranslation(["observe", "common"]);
  const number = new Intl.NumberFormat(i18n.language);
  const [query] = useUrlValue("q");
  const [only] = useUrlValue("only");
  const [wrap] = useUrlValue("wrap", "1");
  const patch = useUrlPatch();
  const [follow, setFollow] = useState(true);
  const text = useRef<LogTextHandle>(null);

  const found = useMemo(() => matching(log.lines, query), [log, query]);
  const filtered = only === "1" && query !== "";
  const shown = filtered ? found : log.lines;
  // The lines of another search are others, under the same numbers.
  const origin = useMemo(() => ({ of: log.origin, query: filtered ? query : "" }), [log.origin, filtered, query]);

  const nothing = log.lines.length === 0;
  return (
    <Stack gap="xs">
      <Group gap="xs" wrap="wrap">
        <UrlSearch label={t("logs.search")} width={240} />
        {query && (
          <>
            <Text size="sm" c="dimmed" role="status" miw={90}>
              {t("logs.found", { count: found.length, found: number.format(found.length) })}
            </Text>
            <ActionIcon.Group>
              <ActionIcon variant="default" aria-label={t("logs.previous")} disabled={!found.length} onClick={() => text.current?.find(-1)}>
                <IconArrowUp size={15} />
              </ActionIcon>
              <ActionIcon variant="default" aria-label={t("logs.next")} disabled={!found.length} onClick={() => text.current?.find(1)}>
                <IconArrowDown size={15} />
              </ActionIcon>
            </ActionIcon.Group>
            <Switch
              size="xs"
              label={t("logs.only")}
              checked={filtered}
              onChange={(event) => patch({ only: event.currentTarget.checked ? "1" : "" })}
            />
          </>
        )}
        <Group gap="md" ml="auto" wrap="nowrap">
          {state && <FollowStatus state={state} retry={reconnect} />}
          <Switch
            size="xs"
            label={t("logs.wrap")}
            checked={wrap === "1"}
            onChange={(event) => patch({ wrap: event.currentTarget.checked ? "" : "0" })}
          />
          <Tooltip label={t("common:download")}>
            <ActionIcon
              variant="default"
              size="lg"
              aria-label={t("logs.download")}
              disabled={nothing}
              onClick={() => download(log, fileName)}
            >
              <IconDownload size={17} />
            </ActionIcon>
          </Tooltip>
        </Group>
      </Group>
      {log.dropped > 0 && (
        <Text size="xs" c="dimmed">
          {t("logs.dropped", { count: log.dropped, dropped: number.format(log.dropped), kept: number.format(log.lines.length) })}
        </Text>
      )}
      <Box
        pos="relative"
        h={height}
        bd="1px solid var(--mantine-color-default-border)"
        style={{ borderRadius: "var(--mantine-radius-sm)", overflow: "hidden" }}
      >
        {nothing ? (
          <NoLines state={state} empty={empty} />
        ) : (
          <Suspense fallback={<Waiting />}>
            <LogText
              ref={text}
              lines={shown}
              origin={origin}
              query={query}
              wrap={wrap === "1"}
              follow={follow}
              onFollow={setFollow}
              label={label}
            />
          </Suspense>
        )}
        {!nothing && !follow && (
          <Button
            pos="absolute"
            bottom={10}
            right={22}
            size="xs"
            leftSection={<IconArrowDown size={14} />}
            onClick={() => setFollow(true)}
            style={{ zIndex: 1 }}
          >
            {t("logs.toEnd")}
          </Button>
        )}
      </Box>
    </Stack>
  );
}

function NoLines({ state, empty }: { state: FollowState | undefined; empty: ReactNode }) {
  const { t } = useTranslation("observe");
  if (state === "connecting") return <Waiting />;
  if (state === "lost") return <EmptyState title={t("follow.lost")}>{t("follow.lostHint")}</EmptyState>;
  return <>{empty}</>;
}

function Waiting() {
  return (
    <Box p="sm" aria-busy="true">
      {["90%", "70%", "80%", "55%"].map((width) => (
        <Skeleton key={width} height={12} width={width} mb={8} />
      ))}
    </Box>
  );
}

function download(log: Log, fileName: string): void {
  const address = URL.createObjectURL(new Blob([log.lines.map((line) => `${line.text}\n`).join("")], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName;
  link.click();
  URL.revokeObjectURL(address);
}
