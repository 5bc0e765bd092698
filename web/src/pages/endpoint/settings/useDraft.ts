import { useState } from "react";

export interface Draft<T> {
  value: T;
  set: (value: T) => void;
  dirty: boolean;
  reset: () => void;
}

/** What is edited of `saved`: it follows the server until it is changed here, and again once that is saved or dropped. */
export function useDraft<T>(saved: T): Draft<T> {
  const [edited, setEdited] = useState<{ value: T } | null>(null);
  return {
    value: edited ? edited.value : saved,
    set: (value) => setEdited({ value }),
    dirty: edited !== null && JSON.stringify(edited.value) !== JSON.stringify(saved),
    reset: () => setEdited(null),
  };
}
