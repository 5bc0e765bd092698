import { useState } from "react";
import { errorText } from "../../../components/confirm";

/** The field that the API names in its message, as `rate_limits[0].calls`. */
function fieldIn(message: string): string {
  return /'([a-z_]+(?:[.[\]\w]*))'/.exec(message)?.[1] ?? "";
}

export interface Save {
  busy: boolean;
  run: (save: () => Promise<unknown>) => Promise<void>;
  clear: () => void;
  /** What the API said of this field, or of one in it. */
  at: (field: string) => string | undefined;
  /** What the API said, when it is about none of these fields. */
  rest: (fields: string[]) => string | undefined;
}

/** Saving one section: whether it is under way, and what the API had against it. */
export function useSave(): Save {
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState("");
  const within = (field: string) => message !== "" && fieldIn(message).startsWith(field);
  return {
    busy,
    run: async (save) => {
      setBusy(true);
      setMessage("");
      try {
        await save();
      } catch (error) {
        setMessage(errorText(error));
      } finally {
        setBusy(false);
      }
    },
    clear: () => setMessage(""),
    at: (field) => (within(field) ? message : undefined),
    rest: (fields) => (message === "" || fields.some(within) ? undefined : message),
  };
}
