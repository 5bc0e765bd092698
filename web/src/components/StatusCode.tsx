import { Text } from "@mantine/core";

const FIRST_OF_ERRORS = 400;

/** An HTTP status; those of errors stand out. */
export function StatusCode({ code }: { code: number | null | undefined }) {
  const failed = !!code && code >= FIRST_OF_ERRORS;
  return (
    <Text component="span" inherit className="mono" fw={failed ? 700 : undefined} c={failed ? "var(--mantine-color-error)" : undefined}>
      {code ?? "–"}
    </Text>
  );
}
