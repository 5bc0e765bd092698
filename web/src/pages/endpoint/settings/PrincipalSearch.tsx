import { Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { errorText } from "../../../components/confirm";
import { type Principal, type PrincipalKind, usePrincipals } from "./principals";

interface Props {
  kinds: PrincipalKind[];
  value: Principal | null;
  onChange: (principal: Principal | null) => void;
  label: string;
  hideLabel?: boolean;
  placeholder?: string;
  error?: string;
  clearable?: boolean;
}

const keyOf = ({ kind, name }: Principal) => `${kind}:${name}`;
const shown = ({ name, display }: Principal) => (display === name ? name : `${display} (${name})`);

/** Finds a principal by a part of its name. */
export function PrincipalSearch({ kinds, value, onChange, label, hideLabel, placeholder, error, clearable }: Props) {
  const { t } = useTranslation("endpoint");
  const [typed, setTyped] = useState("");
  const [part] = useDebouncedValue(value && typed === shown(value) ? "" : typed.trim(), 200);
  const { data = [], error: failed } = usePrincipals(kinds, part);
  const found = value && !data.some((one) => keyOf(one) === keyOf(value)) ? [value, ...data] : data;
  const groups = kinds.map((kind) => ({
    group: t(`principal.${kind}s`),
    items: found.filter((one) => one.kind === kind).map((one) => ({ value: keyOf(one), label: shown(one) })),
  }));
  return (
    <Select
      label={hideLabel ? undefined : label}
      aria-label={hideLabel ? label : undefined}
      placeholder={placeholder ?? t("principal.search")}
      data={kinds.length === 1 ? groups[0]?.items : groups.filter(({ items }) => items.length > 0)}
      value={value ? keyOf(value) : null}
      onChange={(key) => onChange(found.find((one) => keyOf(one) === key) ?? null)}
      searchable
      searchValue={typed}
      onSearchChange={setTyped}
      filter={({ options }) => options}
      nothingFoundMessage={t("principal.none")}
      error={error ?? (failed ? errorText(failed) : undefined)}
      clearable={clearable}
      clearButtonProps={{ "aria-label": t("common:clear") }}
      maxDropdownHeight={280}
    />
  );
}
