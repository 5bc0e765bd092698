import { Alert, Button, Group, Modal, type ModalProps, Stack } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiError } from "../../../api/client";
import { errorText } from "../../../components/confirm";

interface FormModalProps extends Pick<ModalProps, "opened" | "title" | "children" | "closeOnClickOutside"> {
  close: () => void;
}

/** A window with a form. What is in it is made anew each time that it is opened. */
export function FormModal({ close, ...props }: FormModalProps) {
  const { t } = useTranslation();
  return <Modal onClose={close} closeButtonProps={{ "aria-label": t("close") }} {...props} />;
}

interface Props {
  /** Names of the API's fields that the form has; the first is the one that names the object. */
  fields: string[];
  action: string;
  cancel: () => void;
  run: () => Promise<unknown>;
  disabled?: boolean;
  /** The inputs; `said` is what the server said of a field. */
  children: (said: (field: string) => string | undefined) => ReactNode;
}

const TAKEN = ["RESOURCE_ALREADY_EXISTS", "uniqueness"];

/** The field that a refusal is about, if it names one: servers put the field's name into quotes. */
export function fieldOf(error: unknown, fields: string[]): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  if (TAKEN.includes(error.code)) return fields[0];
  return fields.find((field) => error.message.includes(`'${field}'`) || error.message.includes(`'${field}.`));
}

/** The inside of such a window: inputs, what went wrong, and the buttons. */
export function SubmitForm({ fields, action, cancel, run, disabled, children }: Props) {
  const { t } = useTranslation();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const field = fieldOf(error, fields);

  async function submit() {
    setBusy(true);
    setError(undefined);
    try {
      await run();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  }

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Stack gap="sm">
        {children((name) => (name === field ? errorText(error) : undefined))}
        {error !== undefined && field === undefined && (
          <Alert color="red" role="alert">
            {errorText(error)}
          </Alert>
        )}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={cancel}>
            {t("cancel")}
          </Button>
          <Button type="submit" loading={busy} disabled={disabled}>
            {action}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
