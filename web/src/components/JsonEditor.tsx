import { Box, Skeleton, useComputedColorScheme } from "@mantine/core";
import { lazy, Suspense } from "react";
import type { EditorProps } from "./CodeMirrorEditor";

const Editor = lazy(() => import("./CodeMirrorEditor"));

type Props = Omit<EditorProps, "dark">;

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
