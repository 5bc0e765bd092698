import { ActionIcon, NumberInput, Select, Table } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { GatewayRateLimit, LimitKey } from "../../../api/schema";
import { PrincipalSearch } from "./PrincipalSearch";
import type { PrincipalKind } from "./principals";

const KEYS: LimitKey[] = ["endpoint", "user", "user_group", "service_principal"];
const KINDS: Record<Exclude<LimitKey, "endpoint">, PrincipalKind> = {
  user: "user",
  user_group: "group",
  service_principal: "servicePrincipal",
};

interface Props {
  number: number;
  limit: GatewayRateLimit;
  onChange: (limit: GatewayRateLimit) => void;
  onRemove: () => void;
  /** What the API said of a field of this limit; of the limit, for "". */
  problem: (field: string) => string | undefined;
}

export function RateLimitRow({ number, limit, onChange, onRemove, problem }: Props) {
  const { t } = useTranslation("endpoint");
  const { key, principal } = limit;
  // Also while the field of the number is empty.
  const byTokens = "tokens" in limit && limit.tokens !== null;
  const most = limit.tokens ?? limit.calls ?? "";
  const ofPrincipal = problem(".principal");

  function setMost(value: string | number, tokens = byTokens) {
    const amount = value === "" ? undefined : Number(value);
    onChange({ key, principal, renewal_period: "minute", ...(tokens ? { tokens: amount } : { calls: amount }) });
  }

  return (
    <Table.Tr style={{ verticalAlign: "top" }}>
      <Table.Td>
        <Select
          aria-label={t("limits.forOf", { number })}
          data={KEYS.map((value) => ({ value, label: t(`limits.key.${value}`) }))}
          value={key}
          allowDeselect={false}
          onChange={(to) => to && onChange({ ...limit, key: to, principal: undefined })}
        />
      </Table.Td>
      <Table.Td>
        {key !== "endpoint" && (
          <PrincipalSearch
            kinds={[KINDS[key]]}
            value={principal ? { kind: KINDS[key], name: principal, display: principal } : null}
            onChange={(chosen) => onChange({ ...limit, principal: chosen?.name })}
            label={t("limits.principalOf", { number })}
            hideLabel
            placeholder={key === "user" ? t("limits.eachUser") : undefined}
            clearable
            error={ofPrincipal}
          />
        )}
      </Table.Td>
      <Table.Td>
        <NumberInput
          aria-label={t("limits.mostOf", { number })}
          value={most}
          onChange={(value) => setMost(value)}
          allowDecimal={false}
          allowNegative={false}
          hideControls
          error={ofPrincipal ? undefined : problem("")}
        />
      </Table.Td>
      <Table.Td>
        <Select
          aria-label={t("limits.unitOf", { number })}
          data={(["calls", "tokens"] as const).map((value) => ({ value, label: t(`limits.${value}`) }))}
          value={byTokens ? "tokens" : "calls"}
          allowDeselect={false}
          onChange={(to) => setMost(most, to === "tokens")}
        />
      </Table.Td>
      <Table.Td>
        <ActionIcon variant="subtle" color="gray" size={34} aria-label={t("limits.removeOf", { number })} onClick={onRemove}>
          <IconTrash size={16} />
        </ActionIcon>
      </Table.Td>
    </Table.Tr>
  );
}
