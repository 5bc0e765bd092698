import { Select } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Cut } from "../../../components/Cut";
import { LISTBOX_SCROLLS } from "../parts/listbox";
import { type Named, type PrincipalKind, useDirectory } from "./directory";

const KINDS: PrincipalKind[] = ["user", "group", "servicePrincipal"];
const MOST_SHOWN = 100;

interface Props {
  label: string;
  value: string | null;
  onChange: (value: string | null) => void;
  /** Whether the value is the id of the one chosen, or the name that permissions know it by. */
  by: "id" | "name";
  /** Those not offered. */
  without?: (one: Named) => boolean;
  error?: string;
}

/** Chooses a user, a group or a service principal. */
export function PrincipalSelect({ label, value, onChange, by, without, error }: Props) {
  const { t } = useTranslation("settings");
  const { all, error: unread } = useDirectory();
  const data = KINDS.map((kind) => ({
    group: t(`kinds.${kind}`),
    items: all.filter((one) => one.kind === kind && !without?.(one)).map((one) => ({ value: one[by], label: one.shown })),
  })).filter((group) => group.items.length > 0);
  return (
    <Select
      label={label}
      placeholder={t("principal.placeholder")}
      nothingFoundMessage={t("noMatch")}
      data={data}
      value={value}
      onChange={onChange}
      searchable
      limit={MOST_SHOWN}
      {...LISTBOX_SCROLLS}
      required
      renderOption={({ option }) => <Cut width="100%" text={option.label} />}
      error={error ?? unread?.message}
      data-autofocus
    />
  );
}
