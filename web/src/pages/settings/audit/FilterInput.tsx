import { Autocomplete, CloseButton } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useTypedUrlValue } from "../../../components/UrlSearch";
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
  const [text, setText] = useTypedUrlValue(name, 300);
  return (
    <Autocomplete
      label={label}
      w={190}
      data={[...new Set(suggestions)].sort()}
      limit={30}
      {...LISTBOX_SCROLLS}
      value={text}
      onChange={setText}
      autoComplete="off"
      rightSection={text ? <CloseButton size="sm" aria-label={t("clear")} onClick={() => setText("")} /> : null}
    />
  );
}
