import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from "@mantine/core";

// One accent. Shade 7 on white and white on shade 7 have a contrast above 5:1.
const harbor: MantineColorsTuple = [
  "#edf2ff", "#dbe4ff", "#bac8ff", "#91a7ff", "#8ba2ff", "#5c7cfa", "#4c6ef5", "#3b5bdb", "#364fc7", "#2b3f9e",
]; // prettier-ignore

export const theme = createTheme({
  primaryColor: "harbor",
  primaryShade: { light: 7, dark: 7 },
  colors: { harbor },
  fontFamily: "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK JP', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'Noto Sans Mono', monospace",
  defaultRadius: "sm",
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.25rem" },
  headings: { fontWeight: "600", sizes: { h1: { fontSize: "1.375rem" }, h2: { fontSize: "1.125rem" }, h3: { fontSize: "1rem" } } },
  components: {
    Button: { defaultProps: { size: "sm" } },
    Table: { defaultProps: { verticalSpacing: 6, horizontalSpacing: "sm", fz: "sm" } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 300 } },
    // Its place holder for the first focus may not be in a menu; without it the first entry has the focus, as menus should.
    Menu: { defaultProps: { withInitialFocusPlaceholder: false } },
    Modal: { defaultProps: { centered: true } },
    Anchor: { defaultProps: { underline: "hover" } },
  },
});

/** Text that steps back still has the contrast of WCAG AA, and so do badges and errors, in both schemes. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: { "--mantine-color-dimmed": "#565e66", "--mantine-color-error": "#c92a2a", "--mantine-color-placeholder": "#6b737b" },
  dark: { "--mantine-color-dimmed": "#a6abb2", "--mantine-color-error": "#ff8787", "--mantine-color-anchor": "#91a7ff", "--mantine-color-placeholder": "#9aa0a6" },
});
