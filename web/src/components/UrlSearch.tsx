import { CloseButton, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "react-router";

/** The parameters as the browser has them: the router's are those of the last rendering, which another change may have overtaken. */
export const addressNow = () => new URLSearchParams(window.location.search);

/** One value of the page's address, and how to change it; setting "" removes it. Changes go back to the first page. */
export function useUrlValue(name: string, initial = ""): [string, (value: string) => void] {
  const [params, setParams] = useSearchParams();
  const set = (value: string) =>
    setParams(
      () => {
        const next = addressNow();
        if (value === initial) next.delete(name);
        else next.set(name, value);
        next.delete("page");
        return next;
      },
      { replace: true },
    );
  return [params.get(name) ?? initial, set];
}

/**
 * Several values of the page's address changed at once; "" removes one. Changes go back to the first page. They are
 * there at once, as a switch or a field that is bound to one has to show what was done to it. Not for effects.
 */
export function useUrlPatch(): (values: Record<string, string>) => void {
  const [, setParams] = useSearchParams();
  return (values) =>
    setParams(
      () => {
        const next = addressNow();
        for (const [name, value] of Object.entries(values)) {
          if (value) next.set(name, value);
          else next.delete(name);
        }
        next.delete("page");
        return next;
      },
      { replace: true, flushSync: true },
    );
}

/** A text that goes to the page's address a moment after it was last changed; `trimmed` without spaces around it. */
export function useTypedUrlValue(name: string, afterMs: number, trimmed = true): [string, (text: string) => void] {
  const [value, set] = useUrlValue(name);
  const [text, setText] = useState(value);
  // What comes back from the address is older than what was typed meanwhile.
  const sent = useRef(value);
  const later = useDebouncedCallback((typed: string) => {
    sent.current = trimmed ? typed.trim() : typed;
    set(sent.current);
  }, afterMs);
  useEffect(() => {
    if (value === sent.current) return;
    sent.current = value;
    setText(value);
  }, [value]);
  return [
    text,
    (typed) => {
      setText(typed);
      later(typed);
    },
  ];
}

/** A search field whose text is in the page's address under `name`. */
export function UrlSearch({ name = "q", label, width = 260 }: { name?: string; label: string; width?: number }) {
  const { t } = useTranslation();
  const [text, setText] = useTypedUrlValue(name, 200, false);
  return (
    <TextInput
      aria-label={label}
      placeholder={label}
      w={width}
      leftSection={<IconSearch size={15} />}
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
      rightSection={text ? <CloseButton size="sm" aria-label={t("clear")} onClick={() => setText("")} /> : null}
    />
  );
}
