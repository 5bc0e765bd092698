// Within this distance from the end one is at the end.
const NEAR_END_PX = 24;
// What scrolls after this time since the last key, wheel or touch is not the reader's doing.
const ACTED_MS = 1000;

export function isAtEnd({ scrollTop, scrollHeight, clientHeight }: HTMLElement): boolean {
  return scrollHeight - scrollTop - clientHeight <= NEAR_END_PX;
}

/**
 * Tells of it when the reader leaves the end of what scrolls, or comes back to it: lines that come and go move it too,
 * which says nothing. Answers what stops it.
 */
export function watchTail(element: HTMLElement, tell: (atEnd: boolean) => void): () => void {
  let before = element.scrollTop;
  let acted = -Infinity;
  let held = false;
  const act = () => (acted = performance.now());
  const hold = () => (held = true);
  const release = (event: PointerEvent) => {
    if (event.type === "pointerup" || event.buttons === 0) held = false;
  };
  const scrolled = () => {
    const top = element.scrollTop;
    const up = top < before;
    before = top;
    if (!held && performance.now() - acted > ACTED_MS) return;
    if (isAtEnd(element)) tell(true);
    else if (up) tell(false);
  };
  const ending = new AbortController();
  // Before whoever else listens: what others do when it scrolls may scroll it back to the end.
  const options = { passive: true, capture: true, signal: ending.signal };
  for (const type of ["wheel", "touchmove", "keydown"]) element.addEventListener(type, act, options);
  element.addEventListener("pointerdown", hold, options);
  element.addEventListener("pointerup", release, options);
  element.addEventListener("pointermove", release, options);
  element.addEventListener("scroll", scrolled, options);
  return () => ending.abort();
}
