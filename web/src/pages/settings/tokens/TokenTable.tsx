import { Button, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { ConfirmModal, notifyDone } from "../../../components/confirm";
import { Cut } from "../../../components/Cut";
import { type Column, DataTable } from "../../../components/DataTable";
import { TimeAgo } from "../../../components/Time";
import type { TokenInfo } from "../../../api/schema";
import { Expiry, expiryOrder } from "../parts/Expiry";
import { useTarget } from "../parts/useTarget";

interface Props<Token extends TokenInfo> {
  tokens: Token[] | undefined;
  label: string;
  empty: ReactNode;
  /** Columns after the comment. */
  more?: Column<Token>[];
  prefix?: string;
  /** Revokes one; absent where the reader may not. */
  revoke?: (token: Token) => Promise<unknown>;
}

/** Tokens, never their text, each with a button that revokes it. */
export function TokenTable<Token extends TokenInfo>({ tokens, label, empty, more = [], prefix, revoke }: Props<Token>) {
  const { t } = useTranslation("settings");
  const revoking = useTarget<Token>();
  const named = revoking.target ? revoking.target.comment || revoking.target.token_id.slice(0, 12) : "";
  const columns: Column<Token>[] = [
    {
      key: "comment",
      title: t("tokens.comment"),
      sortBy: (token) => token.comment,
      width: more.length > 0 ? "22%" : "40%",
      minWidth: 140,
      cell: (token) => <Cut width="100%" text={token.comment || t("tokens.noComment")} dimmed={!token.comment} />,
    },
    ...more,
    {
      key: "id",
      title: t("tokens.id"),
      cell: (token) => (
        <Text span className="mono" title={token.token_id} style={{ whiteSpace: "nowrap" }}>
          {token.token_id.slice(0, 12)}…
        </Text>
      ),
    },
    { key: "created", title: t("created"), sortBy: (token) => token.creation_time, cell: (token) => <TimeAgo at={token.creation_time} /> },
    {
      key: "expires",
      title: t("expires"),
      sortBy: (token) => expiryOrder(token.expiry_time),
      cell: (token) => <Expiry at={token.expiry_time} />,
    },
  ];
  if (revoke) {
    columns.push({
      key: "revoke",
      title: t("actions"),
      titleHidden: true,
      align: "right",
      cell: (token) => (
        <Button
          size="compact-sm"
          variant="default"
          onClick={() => revoking.ask(token)}
          aria-label={t("tokens.revokeNamed", { name: token.comment || token.token_id.slice(0, 12) })}
        >
          {t("tokens.revoke")}
        </Button>
      ),
    });
  }
  return (
    <>
      <DataTable
        columns={columns}
        rows={tokens}
        rowKey={(token) => token.token_id}
        label={label}
        empty={empty}
        defaultSort="-created"
        prefix={prefix}
      />
      {revoke && (
        <ConfirmModal
          opened={revoking.opened}
          close={revoking.close}
          title={t("tokens.revokeTitle")}
          action={t("tokens.revoke")}
          run={async () => {
            if (!revoking.target) return;
            await revoke(revoking.target);
            notifyDone(t("tokens.revoked"));
          }}
        >
          {t("tokens.revokeQuestion", { name: named })}
        </ConfirmModal>
      )}
    </>
  );
}
