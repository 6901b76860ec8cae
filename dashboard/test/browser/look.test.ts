// What a first look shows: rows that come while one looks, rows of other years, a log without requests.

import { describe, expect, test } from "vitest";

import { RECORDS } from "../mock/records";
import { eventually, figure, queryOf, stage } from "./mocked";

const scene = stage();
const { visit } = scene;
const milling = {
  read: 1000,
  refused: 2,
  bytes: 250_000,
  bytes_total: 1_000_000,
  epochs: 0,
  done: false,
};

test("while the table is filled, figures grow and the end counts visitors", async () => {
  scene.mock.milling = milling;
  scene.mock.rows = RECORDS.slice(0, 1000);
  const page = await visit("");
  await page.getByText("25 % read: 1,000 lines, 250 kB, 2 refused.").waitFor();
  expect(await page.getByRole("alert").count()).toBe(0);
  expect(scene.mock.asked.some((path) => path.startsWith("analytics/"))).toBe(false);
  scene.mock.milling = { ...milling, epochs: 1 };
  await eventually(() => figure(page, "Requests"), "1,000");
  await page.getByText("The figures below still grow.").waitFor();
  expect(
    scene.mock.asked
      .filter((path) => /summary|timeseries/.test(path))
      .every((path) => path.includes("visitors=exclude")),
  ).toBe(true);
  scene.mock.rows = RECORDS;
  scene.mock.milling = { ...milling, epochs: 2, bytes: 1_000_000, done: true };
  await eventually(() => figure(page, "Requests"), "8,000");
  await eventually(async () => /^[\d.]+K?$|^\d,\d+$/.test(await figure(page, "Visitors")), true);
  await eventually(() => page.getByRole("progressbar").count(), 0);
});

test("a table in which every line was refused says so", async () => {
  scene.mock.milling = { ...milling, refused: 1000, done: true };
  const problem = { status: 404, title: "Not Found", detail: "there is no table yet" };
  scene.mock.failing.set("analytics/", problem);
  const page = await visit("");
  await page.getByText("No line has the format that was taken").waitFor();
  expect(await page.getByRole("alert").count()).toBe(0);
});

describe("rows of other years", () => {
  test("are named, drawn, and left out by a click", async () => {
    const [first = {}] = RECORDS;
    scene.mock.rows = [
      { ...first, ts: "1970-01-01T00:00:00Z" },
      ...RECORDS,
      { ...first, ts: "2099-01-01T00:00:00Z" },
    ];
    const page = await visit("");
    await page
      .getByText(
        "2 requests lie far outside of all others in time: 1 before 28 Feb 2026, 1 after 14 Mar 2026.",
      )
      .waitFor();
    await page.locator(".charts canvas").first().waitFor();
    await page.getByText("year (auto)").waitFor({ state: "attached" });
    expect(await page.getByRole("alert").count()).toBe(0);
    await page.getByRole("button", { name: "Leave them out" }).click();
    await eventually(() => queryOf(page), "?start=2026-02-28&end=2026-03-14");
    await eventually(() => figure(page, "Requests"), "8,000");
    await eventually(() => page.getByRole("note").count(), 0);
    await page.getByText("28 Feb 2026 – 14 Mar 2026", { exact: true }).waitFor();
  });
});

test("only widths that fit are offered", async () => {
  const page = await visit("");
  const widths = page.getByLabel("per").locator("option");
  await eventually(
    () => widths.allInnerTexts(),
    ["hour (auto)", "hour", "day", "week", "month", "year"],
  );
});
