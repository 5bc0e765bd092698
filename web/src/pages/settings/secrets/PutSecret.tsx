import { FileInput, PasswordInput, TextInput } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { client, unwrap } from "../../../api/client";
import { notifyDone } from "../../../components/confirm";
import { FormModal, SubmitForm } from "../parts/FormModal";
import { refreshSecrets } from "./queries";

interface Props {
  opened: boolean;
  close: () => void;
  scope: string;
  /** The one whose value is replaced; "" makes one. */
  secretKey: string;
}

/** Writes a secret's value: from the keyboard, or byte for byte from a file. */
export function PutSecret({ opened, close, scope, secretKey }: Props) {
  const { t } = useTranslation("settings");
  const title = secretKey ? t("secrets.replaceTitle", { name: secretKey }) : t("secrets.addTitle", { name: scope });
  return (
    <FormModal opened={opened} close={close} title={title} closeOnClickOutside={false}>
      <Fields close={close} scope={scope} secretKey={secretKey} />
    </FormModal>
  );
}

function inBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function Fields({ close, scope, secretKey }: Omit<Props, "opened">) {
  const { t } = useTranslation(["settings", "common"]);
  const [key, setKey] = useState(secretKey);
  const [value, setValue] = useState("");
  const [file, setFile] = useState<File | null>(null);

  async function run() {
    const written = file ? { bytes_value: inBase64(new Uint8Array(await file.arrayBuffer())) } : { string_value: value };
    await unwrap(client.POST("/api/2.0/secrets/put", { body: { scope, key: key.trim(), ...written } }));
    await refreshSecrets();
    notifyDone(t("common:saved"));
    close();
  }

  return (
    <SubmitForm
      fields={["key", "string_value", "bytes_value"]}
      action={t("common:save")}
      cancel={close}
      run={run}
      disabled={!file && !value}
    >
      {(said) => (
        <>
          {!secretKey && (
            <TextInput
              label={t("secrets.key")}
              description={t("secrets.nameHint")}
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
              error={said("key")}
              required
              autoComplete="off"
              data-autofocus
            />
          )}
          <PasswordInput
            label={t("secrets.value")}
            description={t("secrets.valueHint")}
            value={value}
            onChange={(event) => setValue(event.currentTarget.value)}
            error={said("string_value")}
            disabled={file !== null}
            required={file === null}
            autoComplete="new-password"
            visibilityToggleButtonProps={{ "aria-label": t("secrets.show") }}
            data-autofocus={secretKey ? true : undefined}
          />
          <FileInput
            label={t("secrets.file")}
            description={t("secrets.fileHint")}
            placeholder={t("secrets.choose")}
            value={file}
            onChange={setFile}
            error={said("bytes_value")}
            clearable
            clearButtonProps={{ "aria-label": t("common:clear") }}
          />
        </>
      )}
    </SubmitForm>
  );
}
