import { Box, Skeleton, useComputedColorScheme } from "@mantine/core";
import { lazy, Suspense } from "react";

const Editor = lazy(() => import("./CodeMirrorEditor"));

interface Props {
  value: string;
  onChange?: (value: string) => void;
  /** What is edited, for the reader of the screen. */
  label: string;
  language?: "json" | "python" | "text";
  readOnly?: boolean;
  minHeight?: number;
  maxHeight?: number;
}

/** An editor of JSON (or a reader of it), loaded when it is first needed. */
export function JsonEditor({ minHeight = 120, ...props }: Props) {
  const dark = useComputedColorScheme("light") === "dark";
  return (
    <Box bd="1px solid var(--mantine-color-default-border)" style={{ borderRadius: "var(--mantine-radius-sm)", overflow: "hidden" }}>
      <Suspense fallback={<Skeleton height={minHeight} />}>
        <Editor {...props} minHeight={minHeight} dark={dark} />
      </Suspense>
    </Box>
  );
}
