import { TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { DAY_SECONDS, LifetimeInput } from "../parts/LifetimeInput";
import { ShownOnce } from "../parts/ShownOnce";

const MOST_DAYS = 36_500;

export interface WantedToken {
  comment: string;
  lifetime_seconds: number | null;
}

interface Props {
  opened: boolean;
  close: () => void;
  title: string;
  /** Makes the token; answers its text. */
  make: (wanted: WantedToken) => Promise<string>;
}

/** Asks what a token is for and how long it lives, makes it, and shows its text this once. */
export function GenerateToken({ opened, close, title, make }: Props) {
  return (
    <FormModal opened={opened} close={close} title={title} closeOnClickOutside={false}>
      <Steps close={close} make={make} />
    </FormModal>
  );
}

function Steps({ close, make }: Pick<Props, "close" | "make">) {
  const { t } = useTranslation("settings");
  const [comment, setComment] = useState("");
  const [days, setDays] = useState<number | "">(90);
  const [endless, setEndless] = useState(false);
  const [text, setText] = useState<string>();
  if (text !== undefined) return <ShownOnce values={[{ label: t("tokens.one"), value: text }]} warning={t("tokens.once")} done={close} />;
  return (
    <SubmitForm
      fields={["comment", "lifetime_seconds"]}
      action={t("tokens.generateAction")}
      cancel={close}
      run={async () => setText(await make({ comment, lifetime_seconds: endless ? null : Number(days) * DAY_SECONDS }))}
    >
      {(said) => (
        <>
          <TextInput
            label={t("tokens.comment")}
            description={t("tokens.commentHint")}
            value={comment}
            onChange={(event) => setComment(event.currentTarget.value)}
            error={said("comment")}
            maxLength={1000}
            data-autofocus
          />
          <LifetimeInput
            days={days}
            setDays={setDays}
            max={MOST_DAYS}
            error={said("lifetime_seconds")}
            endless={{ value: endless, set: setEndless }}
          />
        </>
      )}
    </SubmitForm>
  );
}
