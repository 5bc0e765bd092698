import { Group, SegmentedControl, Select } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { UrlSearch, useUrlValue } from "../../components/UrlSearch";
import { ATTENTION, CONDITIONS } from "./endpoints";

/** What the list is narrowed by. Each choice is in the page's address. `tags` are those there are. */
export function ServingFilters({ tags }: { tags: string[] }) {
  const { t } = useTranslation(["serving", "common"]);
  const [state, setState] = useUrlValue("state");
  const [owner, setOwner] = useUrlValue("owner");
  const [tag, setTag] = useUrlValue("tag");
  const states = [
    { value: "", label: t("filter.anyState") },
    { value: ATTENTION, label: t("filter.attention") },
    ...CONDITIONS.map((value) => ({ value: value as string, label: t(`common:condition.${value}`) })),
  ];
  // A tag of the page's address may be one that no endpoint has any more.
  const known = tag && !tags.includes(tag) ? [tag, ...tags] : tags;
  return (
    <Group gap="xs" mb="sm">
      <UrlSearch label={t("filter.name")} width={230} />
      <Select aria-label={t("filter.state")} data={states} value={state} onChange={(value) => setState(value ?? "")} allowDeselect={false} w={220} />
      <Select
        aria-label={t("filter.tag")}
        placeholder={t("filter.anyTag")}
        data={known}
        value={tag || null}
        onChange={(value) => setTag(value ?? "")}
        searchable
        clearable
        clearButtonProps={{ "aria-label": t("common:clear") }}
        limit={100}
        nothingFoundMessage={t("filter.noTags")}
        w={180}
      />
      <SegmentedControl
        aria-label={t("filter.owner")}
        size="sm"
        data={[
          { value: "", label: t("filter.everybody") },
          { value: "me", label: t("filter.mine") },
        ]}
        value={owner === "me" ? "me" : ""}
        onChange={setOwner}
      />
    </Group>
  );
}
