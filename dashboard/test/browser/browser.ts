// A headless Chromium, and a page that remembers which hosts it asked and what went wrong.

import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

/** Debian's; another by the environment. */
const PROGRAM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Long enough for a machine that compiles beside. */
export const PATIENCE_MS = 60_000;

export async function launch(): Promise<Browser> {
  // Chromium's own sandbox does not work for root.
  return chromium.launch({ executablePath: PROGRAM, args: ARGUMENTS, chromiumSandbox: false });
}

export interface Watched {
  page: Page;
  /** Other hosts that were asked. */
  strangers: string[];
  /** Errors of scripts and refusals of the policy. */
  complaints: string[];
}

export async function open(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: 1360, height: 900 },
    timezoneId: "America/New_York",
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const watched: Watched = { page, strangers: [], complaints: [] };
  const host = new URL(url).host;
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.host !== host) watched.strangers.push(request.url());
  });
  page.on("pageerror", (error) => watched.complaints.push(String(error)));
  page.on("console", (message) => {
    // A refused answer is logged by the browser itself, and is part of some tests.
    if (message.type() !== "error" || message.text().startsWith("Failed to load")) return;
    watched.complaints.push(message.text());
  });
  await page.goto(url);
  return watched;
}
