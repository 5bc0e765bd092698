import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { EditorView } from "@codemirror/view";
import CodeMirror from "@uiw/react-codemirror";
import { useCallback, useEffect, useMemo, useRef } from "react";

export interface EditorProps {
  value: string;
  onChange?: (value: string) => void;
  /** What is edited, for the reader of the screen. */
  label: string;
  language?: "json" | "python" | "text";
  readOnly?: boolean;
  minHeight?: number;
  maxHeight?: number;
  dark: boolean;
}

// The page's own ground: the themes' own leave some colours without enough contrast, and a gutter that ends where the text does.
const surface = EditorView.theme({
  "&": { backgroundColor: "var(--mantine-color-body) !important" },
  ".cm-gutters": { backgroundColor: "transparent !important", border: "none" },
});

export default function CodeMirrorEditor({ value, onChange, label, language = "json", readOnly, minHeight, maxHeight, dark }: EditorProps) {
  // The editor is set up anew whenever one of these is another object: not with each rendering of the page around it.
  const extensions = useMemo(() => {
    const found = [EditorView.lineWrapping, surface, EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" })];
    if (language === "json") found.push(json().extension as never);
    if (language === "python") found.push(python().extension as never);
    return found;
  }, [label, language]);
  const setup = useMemo(
    () => ({ foldGutter: false, highlightActiveLine: !readOnly, highlightActiveLineGutter: !readOnly, autocompletion: false }),
    [readOnly],
  );
  const latest = useRef(onChange);
  useEffect(() => {
    latest.current = onChange;
  });
  const change = useCallback((text: string) => latest.current?.(text), []);
  return (
    <CodeMirror
      value={value}
      onChange={change}
      readOnly={readOnly}
      theme={dark ? "dark" : "light"}
      extensions={extensions}
      indentWithTab={false}
      basicSetup={setup}
      minHeight={minHeight ? `${minHeight}px` : undefined}
      maxHeight={maxHeight ? `${maxHeight}px` : undefined}
    />
  );
}
