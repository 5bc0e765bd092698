import { Autocomplete, CloseButton, Group, Select, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useTypedUrlValue, useUrlPatch, useUrlValue } from "../../components/UrlSearch";

const STATUSES = ["200", "400", "401", "403", "404", "408", "429", "500", "502", "503", "504"];
const SHOWN_AFTER_MS = 300;

export function isStatus(text: string): boolean {
  return /^[1-5]\d\d$/.test(text);
}

/** Which requests are shown, all of it in the page's address. A table of the older form knows no entities and requesters. */
export function RowFilters({ entities, older }: { entities: string[]; older: boolean }) {
  const { t } = useTranslation(["observe", "common"]);
  const [entity, setEntity] = useUrlValue("entity");
  return (
    <Group gap="xs" align="flex-end" wrap="wrap">
      <StatusFilter />
      {!older && (
        <Select
          label={t("table.entity")}
          value={entity}
          onChange={(value) => setEntity(value ?? "")}
          allowDeselect={false}
          w={170}
          data={[{ value: "", label: t("common:all") }, ...(!entity || entities.includes(entity) ? entities : [...entities, entity])]}
        />
      )}
      <TimeFilter name="from" label={t("table.from")} />
      <TimeFilter name="to" label={t("table.to")} />
      {!older && <TextFilter name="requester" label={t("table.requester")} />}
      <TextFilter name="request" label={t("table.requestId")} />
      <TextFilter name="client_request" label={t("table.clientRequestId")} />
    </Group>
  );
}

function TextFilter({ name, label }: { name: string; label: string }) {
  const { t } = useTranslation("common");
  const [text, setText] = useTypedUrlValue(name, SHOWN_AFTER_MS);
  return (
    <TextInput
      label={label}
      value={text}
      w={170}
      onChange={(event) => setText(event.currentTarget.value)}
      rightSection={text ? <CloseButton size="sm" aria-label={t("clear")} onClick={() => setText("")} /> : null}
    />
  );
}

function StatusFilter() {
  const { t } = useTranslation(["observe", "common"]);
  const [text, setText] = useTypedUrlValue("status", SHOWN_AFTER_MS);
  return (
    <Autocomplete
      label={t("table.statusCode")}
      value={text}
      onChange={setText}
      data={STATUSES}
      w={140}
      inputMode="numeric"
      error={text && !isStatus(text) ? t("table.badStatus") : undefined}
      clearable
      clearButtonProps={{ "aria-label": t("common:clear") }}
    />
  );
}

/** A time of the reader's clock; milliseconds since the epoch in the address. */
function TimeFilter({ name, label }: { name: string; label: string }) {
  const [value] = useUrlValue(name);
  const patch = useUrlPatch();
  return (
    <TextInput
      type="datetime-local"
      step={1}
      label={label}
      value={value ? localTime(Number(value)) : ""}
      w={240}
      onChange={(event) => {
        const time = new Date(event.currentTarget.value).getTime();
        patch({ [name]: Number.isNaN(time) ? "" : String(time) });
      }}
    />
  );
}

/** As the field itself writes it, without seconds that are 0: another text would take it out of the hands of who types. */
function localTime(milliseconds: number): string {
  const time = new Date(milliseconds);
  if (Number.isNaN(time.getTime())) return "";
  return new Date(milliseconds - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace(/:00$/, "");
}
