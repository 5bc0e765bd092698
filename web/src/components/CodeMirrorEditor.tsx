import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { EditorView } from "@codemirror/view";
import CodeMirror from "@uiw/react-codemirror";

interface Props {
  value: string;
  onChange?: (value: string) => void;
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

export default function CodeMirrorEditor({ value, onChange, label, language = "json", readOnly, minHeight, maxHeight, dark }: Props) {
  const extensions = [EditorView.lineWrapping, surface, EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" })];
  if (language === "json") extensions.push(json().extension as never);
  if (language === "python") extensions.push(python().extension as never);
  return (
    <CodeMirror
      value={value}
      onChange={onChange}
      readOnly={readOnly}
      theme={dark ? "dark" : "light"}
      extensions={extensions}
      indentWithTab={false}
      basicSetup={{ foldGutter: false, highlightActiveLine: !readOnly, highlightActiveLineGutter: !readOnly, autocompletion: false }}
      minHeight={minHeight ? `${minHeight}px` : undefined}
      maxHeight={maxHeight ? `${maxHeight}px` : undefined}
    />
  );
}
