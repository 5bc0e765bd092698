import { Autocomplete, CloseButton } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { useUrlValue } from "../../../components/UrlSearch";
import { LISTBOX_SCROLLS } from "../parts/listbox";

interface Props {
  /** In the page's address. */
  name: string;
  label: string;
  suggestions: string[];
}

/** One value that entries must have; suggestions are those in sight. */
export function FilterInput({ name, label, suggestions }: Props) {
  const { t } = useTranslation("common");
  const [value, set] = useUrlValue(name);
  const [text, setText] = useState(value);
  const later = useDebouncedCallback(set, 300);
  useEffect(() => setText(value), [value]);
  return (
    <Autocomplete
      label={label}
      w={190}
      data={[...new Set(suggestions)].sort()}
      limit={30}
      {...LISTBOX_SCROLLS}
      value={text}
      onChange={(typed) => {
        setText(typed);
        later(typed.trim());
      }}
      autoComplete="off"
      rightSection={text ? <CloseButton size="sm" aria-label={t("clear")} onClick={() => set("")} /> : null}
    />
  );
}
