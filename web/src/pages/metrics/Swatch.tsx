import { Box } from "@mantine/core";

/** How a curve is drawn. */
export function Swatch({ colour, dashed = false }: { colour: string; dashed?: boolean }) {
  const line = `2px ${dashed ? "dashed" : "solid"} ${colour}`;
  return <Box component="span" w={16} h={0} style={{ flex: "none", display: "inline-block", borderTop: line }} aria-hidden />;
}
