// Languages. A namespace is one file of each folder of `locales`; the chosen language is loaded before the first page.
import i18next from "i18next";
import { initReactI18next } from "react-i18next";

export const LANGUAGES = { en: "English", ja: "日本語", "pt-BR": "Português (Brasil)" } as const;
export type Language = keyof typeof LANGUAGES;

const STORED = "moorage.language";
const catalogues = import.meta.glob<Record<string, unknown>>("./locales/*/*.json", { import: "default" });

function isLanguage(text: string | null | undefined): text is Language {
  return !!text && Object.hasOwn(LANGUAGES, text);
}

/** What was chosen before, else the first of the browser's languages that there is. */
export function preferredLanguage(): Language {
  const stored = window.localStorage.getItem(STORED);
  if (isLanguage(stored)) return stored;
  for (const wanted of navigator.languages) {
    const found = (Object.keys(LANGUAGES) as Language[]).find((one) => one === wanted || one.split("-")[0] === wanted.split("-")[0]);
    if (found) return found;
  }
  return "en";
}

async function load(language: Language): Promise<void> {
  const own = Object.entries(catalogues).filter(([path]) => path.startsWith(`./locales/${language}/`));
  await Promise.all(
    own.map(async ([path, read]) => {
      const namespace = path.split("/").at(-1)!.replace(".json", "");
      i18next.addResourceBundle(language, namespace, await read(), true, true);
    }),
  );
}

export async function startLanguages(): Promise<void> {
  const language = preferredLanguage();
  await i18next.use(initReactI18next).init({
    lng: language,
    fallbackLng: "en",
    defaultNS: "common",
    resources: {},
    interpolation: { escapeValue: false },
    returnNull: false,
  });
  await load(language);
  document.documentElement.lang = language;
}

export async function changeLanguage(language: Language): Promise<void> {
  await load(language);
  window.localStorage.setItem(STORED, language);
  document.documentElement.lang = language;
  await i18next.changeLanguage(language);
}
