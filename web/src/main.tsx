import { MantineProvider } from "@mantine/core";
import { ModalsProvider } from "@mantine/modals";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router/dom";
import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./styles.css";
import { queryClient } from "./api/queries";
import { startLanguages } from "./i18n";
import { router } from "./router";
import { cssVariables, theme } from "./theme";

// MLflow's clients print links to experiments and runs at the root of the server; MLflow's pages are under /mlflow/.
if (window.location.pathname === "/" && /^#\/(experiments|models|compare|metric)/.test(window.location.hash)) {
  window.location.replace(`/mlflow/${window.location.hash}`);
}

await startLanguages();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
      <QueryClientProvider client={queryClient}>
        <ModalsProvider>
          <Notifications position="bottom-right" />
          <RouterProvider router={router} />
        </ModalsProvider>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
