import { Skeleton, Stack } from "@mantine/core";

/** While a page, or what it needs, is on its way. */
export function PageSkeleton() {
  return (
    <Stack gap="sm" p="md" aria-busy="true">
      <Skeleton height={24} width={240} />
      <Skeleton height={14} />
      <Skeleton height={14} width="80%" />
      <Skeleton height={14} width="60%" />
    </Stack>
  );
}
