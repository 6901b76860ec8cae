import { defineConfig } from "vite";

/** Where `npm run dev` finds a running `logmill serve`. */
const server = process.env["LOGMILL_URL"] ?? "http://127.0.0.1:8000";
const paths = ["/analytics", "/pipelines", "/session", "/healthz", "/readyz", "/metrics", "/query"];

const proxy = Object.fromEntries(paths.map((path) => [path, server]));

export default defineConfig({
  // Relative, so that the page also works below a path of a reverse proxy.
  base: "./",
  server: { proxy },
  preview: { proxy },
  build: {
    // `light-dark()` in the style sheet sets the oldest browser.
    target: ["es2022", "chrome123", "firefox120", "safari17.5"],
    // The policy of the server is `default-src 'self'`: no data: addresses, no inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.txt" },
    chunkSizeWarningLimit: 200,
  },
});
