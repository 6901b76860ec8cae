// axe-core in the page under test.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

interface Found {
  violations: { id: string; help: string; nodes: { target: string[]; html: string }[] }[];
}

/** What axe finds wrong, in words. */
export async function violations(page: Page): Promise<string[]> {
  const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"));
  // Evaluated by the debugger, so the policy of the page stays as it is.
  await page.evaluate(source.toString());
  const found = await page.evaluate<Found>("axe.run(document, { resultTypes: ['violations'] })");
  return found.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, html }) => `${id}: ${help}: ${target.join(" ")} ${html.slice(0, 160)}`),
  );
}
