import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

interface Package {
  version: string;
  license?: string;
  dev?: boolean;
  resolved?: string;
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const lock = JSON.parse(read("package-lock.json")) as { packages: Record<string, Package> };

/** What `vite build` puts into the bundle; a build fails the browser tests if this is wrong. */
const BUNDLED = ["preact", "uplot"];

test("THIRD_PARTY.md names what is bundled, with version and licence", () => {
  const page = read("THIRD_PARTY.md");
  for (const name of BUNDLED) {
    const { version, license } = lock.packages[`node_modules/${name}`] as Package;
    expect(page).toMatch(new RegExp(`\\| ${name} +\\| ${version} +\\| ${license} +\\|`));
  }
});

test("the lock file names no address of a registry", () => {
  const named = Object.entries(lock.packages).filter(([, { resolved }]) => resolved);
  expect(named).toEqual([]);
});
