import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` shows the pages of the sources with the API of a server that runs at MOORAGE_URL.
const server = process.env.MOORAGE_URL ?? "http://127.0.0.1:8080";
const ofTheServer = ["/api", "/ajax-api", "/oidc", "/mlflow", "/serving-endpoints", "/model", "/health"];

export default defineConfig({
  plugins: [react()],
  build: { outDir: "../moorage/web", emptyOutDir: true, sourcemap: false, chunkSizeWarningLimit: 1200 },
  server: { proxy: Object.fromEntries(ofTheServer.map((path) => [path, { target: server }])) },
});
