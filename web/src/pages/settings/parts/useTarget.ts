import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";

/** What a window is about, and whether it is open: it keeps its words while it closes. */
export function useTarget<T>() {
  const [target, setTarget] = useState<T>();
  const [opened, { open, close }] = useDisclosure();
  function ask(about: T) {
    setTarget(about);
    open();
  }
  return { target, opened, ask, close };
}
