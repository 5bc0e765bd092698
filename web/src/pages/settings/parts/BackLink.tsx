import { Anchor } from "@mantine/core";
import { IconArrowLeft } from "@tabler/icons-react";
import { Link } from "react-router";

/** From one object back to the list that it is in. */
export function BackLink({ to, label }: { to: string; label: string }) {
  return (
    <Anchor component={Link} to={to} size="sm" display="inline-flex" mb="sm" style={{ alignItems: "center", gap: 4 }}>
      <IconArrowLeft size={14} />
      {label}
    </Anchor>
  );
}
