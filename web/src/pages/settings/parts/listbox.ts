/**
 * For the list of a combobox: it scrolls itself, and the keyboard reaches it through the combobox. A scroll area around
 * it would be out of the keyboard's reach.
 */
export const LISTBOX_SCROLLS = {
  withScrollArea: false,
  styles: { options: { maxHeight: 240, overflowY: "auto" } },
} as const;
