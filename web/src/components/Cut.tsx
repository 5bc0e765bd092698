import { Box } from "@mantine/core";

interface Props {
  text: string | null | undefined;
  mono?: boolean;
  dimmed?: boolean;
  /** "100%" where the column itself says how wide it is. */
  width?: number | string;
}

/** A text of a table on one line, cut where its column ends, whole in its title. */
export function Cut({ text, mono, dimmed, width = 130 }: Props) {
  return (
    <Box className={mono ? "mono cut" : "cut"} c={dimmed ? "dimmed" : undefined} maw={width} title={text ?? undefined}>
      {text || "–"}
    </Box>
  );
}
