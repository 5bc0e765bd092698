import { Anchor, Breadcrumbs, Group, Stack, Title } from "@mantine/core";
import { type ReactNode, useEffect } from "react";
import { Link } from "react-router";

interface Crumb {
  label: string;
  to: string;
}

interface Props {
  title: string;
  crumbs?: Crumb[];
  /** Next to the title: left and right of it. */
  before?: ReactNode;
  after?: ReactNode;
  children?: ReactNode;
}

/** The top of each page: where one is, its title (the document's too), and what can be done here, upper right. */
export function PageHeader({ title, crumbs, before, after, children }: Props) {
  useEffect(() => {
    document.title = `${title} · Moorage`;
  }, [title]);
  return (
    <Stack gap={4} mb="md">
      {crumbs && crumbs.length > 0 && (
        <Breadcrumbs separator="›" fz="sm">
          {crumbs.map((crumb) => (
            <Anchor key={crumb.to} component={Link} to={crumb.to} size="sm">
              {crumb.label}
            </Anchor>
          ))}
        </Breadcrumbs>
      )}
      <Group justify="space-between" gap="sm" wrap="wrap">
        <Group gap="sm" wrap="nowrap" miw={0} style={{ flex: "1 1 16rem" }}>
          {before}
          <Title order={1} className="cut" title={title}>
            {title}
          </Title>
          {after}
        </Group>
        {children && <Group gap="xs">{children}</Group>}
      </Group>
    </Stack>
  );
}
