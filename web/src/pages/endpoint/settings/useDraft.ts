import { useState } from "react";

interface Edited<T> {
  value: T;
  /** What was saved when the editing began: what differs from it has been changed here, all else by others. */
  before: T;
}

export interface Draft<T> extends Edited<T> {
  set: (value: T) => void;
  dirty: boolean;
  reset: () => void;
}

/** What is edited of `saved`: it follows the server until it is changed here, and again once that is saved or dropped. */
export function useDraft<T>(saved: T): Draft<T> {
  const [edited, setEdited] = useState<Edited<T> | null>(null);
  return {
    ...(edited ?? { value: saved, before: saved }),
    set: (value) => setEdited((now) => ({ value, before: now?.before ?? saved })),
    dirty: edited !== null && JSON.stringify(edited.value) !== JSON.stringify(edited.before),
    reset: () => setEdited(null),
  };
}
