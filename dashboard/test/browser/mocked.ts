// What each file of browser tests begins with: a server, a browser, and pages that are clean at the end.

import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

import { MockServer } from "../mock/server";
import { launch, open, PATIENCE_MS, type Watched } from "./browser";

export interface Stage {
  mock: MockServer;
  visit(query: string, options?: BrowserContextOptions): Promise<Page>;
}

/** Every page that was visited must have asked no other host and complained of nothing. */
export function stage(): Stage {
  let browser: Browser | undefined;
  let mock: MockServer | undefined;
  let visited: Watched[] = [];

  beforeAll(async () => {
    mock = await MockServer.start();
    browser = await launch();
  });
  afterEach(async () => {
    const strangers = visited.flatMap((watched) => watched.strangers);
    const complaints = visited.flatMap((watched) => watched.complaints);
    await Promise.all(visited.map(({ page }) => page.context().close()));
    visited = [];
    mock?.reset();
    expect(strangers).toEqual([]);
    expect(complaints).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    await mock?.stop();
  });
  return {
    get mock() {
      if (!mock) throw new Error("the server is there in tests only");
      return mock;
    },
    async visit(query, options) {
      if (!mock || !browser) throw new Error("the browser is there in tests only");
      const watched = await open(browser, mock.url + query, options);
      visited.push(watched);
      return watched.page;
    },
  };
}

/** The query of the page's address, readable. */
export function queryOf(page: Page): string {
  return decodeURIComponent(new URL(page.url()).search.replaceAll("+", " "));
}

/** The figure under a name. */
export async function figure(page: Page, name: string): Promise<string> {
  const box = page.locator(".figure", { has: page.locator("dt", { hasText: name }) });
  return (await box.locator(".big").innerText()).trim();
}

/** A value in the panel of a column. */
export function topValue(page: Page, column: string, value: string): Locator {
  const panel = page.locator(`[data-column="${column}"]`);
  return panel.getByRole("button", { name: value, exact: true });
}

export const PHONE: BrowserContextOptions = {
  viewport: { width: 375, height: 812 },
  deviceScaleFactor: 2,
  hasTouch: true,
  isMobile: true,
};

/** Waits until what `read` gives is as wanted; says what it was instead. */
export async function eventually<T>(read: () => Promise<T> | T, wanted: T): Promise<void> {
  await expect.poll(read, { timeout: PATIENCE_MS, interval: 50 }).toEqual(wanted);
}
