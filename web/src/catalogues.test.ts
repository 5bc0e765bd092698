// Every string is in each language, and every string that a page asks for is there.
import { expect, test } from "vitest";

type Catalogue = { [key: string]: string | Catalogue };

const files = import.meta.glob<Catalogue>("./locales/*/*.json", { import: "default", eager: true });
const sources = import.meta.glob<string>(["./**/*.tsx", "./**/*.ts", "!./**/*.test.ts", "!./api/schema.d.ts"], { query: "?raw", import: "default", eager: true });
const LANGUAGES = ["en", "ja", "pt-BR"];
const NAMESPACES = [...new Set(Object.keys(files).map((path) => path.split("/").at(-1)!.replace(".json", "")))].sort();

function strings(catalogue: Catalogue, prefix = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of Object.entries(catalogue)) {
    if (typeof value === "string") found.set(prefix + key, value);
    else for (const [inner, text] of strings(value, `${prefix}${key}.`)) found.set(inner, text);
  }
  return found;
}

function of(language: string, namespace: string): Map<string, string> {
  return strings(files[`./locales/${language}/${namespace}.json`] ?? {});
}

const placeholders = (text: string) => [...text.matchAll(/{{\s*([^},\s]+)/g)].map((found) => found[1]).sort();
const tags = (text: string) => [...text.matchAll(/<\/?(\w+)\s*\/?>/g)].map((found) => found[1]).sort();

test.each(NAMESPACES.flatMap((namespace) => LANGUAGES.map((language) => [language, namespace] as const)))(
  "%s has each string of %s, with its values",
  (language, namespace) => {
    const english = of("en", namespace);
    const own = of(language, namespace);
    expect([...own.keys()].sort()).toEqual([...english.keys()].sort());
    for (const [key, text] of own) {
      expect(text.trim(), key).not.toBe("");
      // A form for one may leave the number out.
      if (!key.endsWith("_one")) expect(placeholders(text), key).toEqual(placeholders(english.get(key)!));
      expect(tags(text), key).toEqual(tags(english.get(key)!));
    }
  },
);

test("translations are translations", () => {
  for (const language of ["ja", "pt-BR"]) {
    const all = NAMESPACES.flatMap((namespace) => [...of("en", namespace)].map(([key, text]) => [text, of(language, namespace).get(key)]));
    const same = all.filter(([text, own]) => text === own).length;
    // Names, units and code are the same in every language.
    expect(same / all.length, language).toBeLessThan(0.2);
  }
});

test("every key that is written out in the sources exists", () => {
  const missing: string[] = [];
  for (const [path, text] of Object.entries(sources)) {
    const declared = [...text.matchAll(/useTranslation\(\s*(\[[^\]]*\]|"[^"]*")?/g)].flatMap(
      (found) => [...(found[1] ?? '"common"').matchAll(/"([^"]+)"/g)].map((name) => name[1]!),
    );
    const defaults = declared.length ? declared : NAMESPACES;
    for (const found of text.matchAll(/\bt\(\s*"([^"$]+)"/g)) {
      const [namespace, key] = found[1]!.includes(":") ? found[1]!.split(":", 2) : [null, found[1]];
      const searched = namespace ? [namespace] : defaults;
      const exists = searched.some((one) => of("en", one).has(key!) || of("en", one).has(`${key}_other`));
      if (!exists) missing.push(`${path}: ${found[1]}`);
    }
  }
  expect(missing).toEqual([]);
});
