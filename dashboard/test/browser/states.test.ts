// What the page shows when there is nothing, when something is wrong, and while it waits.

import { describe, expect, test } from "vitest";

import { RECORDS } from "../mock/records";
import { eventually, figure, queryOf, stage, topValue } from "./mocked";

const scene = stage();
const { visit } = scene;

describe("nothing to show", () => {
  test("in this range leads to where there is something", async () => {
    const page = await visit("?range=1h");
    await page.getByText("No request matches").waitFor();
    await page.getByText("The table holds requests of 28 Feb – 14 Mar 2026.").waitFor();
    await page.getByRole("button", { name: "Show the newest 24 h" }).click();
    await eventually(() => queryOf(page).startsWith("?start=2026-03-13T"), true);
    const requests = async () => Number((await figure(page, "Requests")).replace(",", ""));
    await eventually(async () => (await requests()) > 100, true);
  });

  test("for these filters offers to remove them", async () => {
    const page = await visit("?filter=ip=nobody");
    await page.getByRole("button", { name: "Remove filters" }).click();
    await eventually(() => figure(page, "Requests"), "8,000");
  });

  test("in an empty table says how to fill it", async () => {
    scene.mock.rows = [];
    const page = await visit("");
    await page.getByText("No requests yet").waitFor();
    await page.getByText("logmill run web.yaml").waitFor();
  });

  test("without a table says how to name one", async () => {
    scene.mock.hasTable = false;
    const page = await visit("");
    await page.getByText("There is no access log to look at yet").waitFor();
    await page.getByRole("main").getByRole("link", { name: "pipelines" }).click();
    await page.getByRole("heading", { name: "Pipelines" }).waitFor();
  });
});

describe("a problem", () => {
  const problem = { status: 503, title: "The lake does not answer", detail: "could not list it" };

  test("stands in place with its reason, and a second try helps", async () => {
    scene.mock.failing.set("analytics/", problem);
    const page = await visit("");
    await page.getByText("The lake does not answer").first().waitFor();
    await page.getByText("could not list it").first().waitFor();
    // Panels that fail before the summary does give way to its problem.
    await eventually(() => page.getByRole("alert").count(), 1);
    scene.mock.failing.clear();
    await page.getByRole("button", { name: "Try again" }).click();
    await eventually(() => figure(page, "Requests"), "8,000");
  });

  test("of one panel leaves the others alone", async () => {
    scene.mock.failing.set("analytics/top/country", problem);
    const page = await visit("");
    await page.getByText("Countries: The lake does not answer").waitFor();
    await page.getByRole("button", { name: "/products", exact: true }).first().waitFor();
    scene.mock.failing.clear();
    await page.getByRole("button", { name: "Try again" }).click();
    await topValue(page, "country", "Germany").waitFor();
  });

  test("of a filter that the server does not know is the server's sentence", async () => {
    const page = await visit("?filter=stauts=404");
    await page.getByText("the table has no column stauts").first().waitFor();
  });

  test("of the network says so", async () => {
    const page = await visit("");
    await eventually(() => figure(page, "Requests"), "8,000");
    await page.context().setOffline(true);
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByText("The server does not answer").first().waitFor();
    await page.context().setOffline(false);
    await page.getByRole("button", { name: "Refresh" }).click();
    await eventually(() => figure(page, "Requests"), "8,000");
  });
});

describe("a server with a token", () => {
  test("is asked with it, once it was given", async () => {
    scene.mock.token = "secret";
    const page = await visit("");
    const dialog = page.getByRole("dialog", { name: "This server asks for a token" });
    await dialog.getByLabel("Token").fill("wrong");
    await dialog.getByRole("button", { name: "Continue" }).click();
    await dialog.getByText("The token was refused.").waitFor();
    await dialog.getByLabel("Token").fill("secret");
    await page.keyboard.press("Enter");
    await eventually(() => figure(page, "Requests"), "8,000");
    await page.reload();
    await eventually(() => figure(page, "Requests"), "8,000");
    expect(await page.evaluate(() => ({ ...localStorage }))).toEqual({});
    expect(page.url()).not.toContain("secret");
  });

  test("shows nothing without one, and can be asked again", async () => {
    scene.mock.token = "secret";
    const page = await visit("");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("A token is needed").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("textbox", { name: "Token" }).fill("secret");
    await page.keyboard.press("Enter");
    await eventually(() => figure(page, "Requests"), "8,000");
  });
});

describe("while it loads", () => {
  test("the old figures stay, dimmed, and the newest question wins", async () => {
    const page = await visit("");
    await eventually(() => figure(page, "Requests"), "8,000");
    scene.mock.delays.set("analytics/", 6000);
    await topValue(page, "country", "Germany").click();
    await page.locator(".loaded.pending .figures").waitFor();
    expect(await figure(page, "Requests")).toBe("8,000");
    scene.mock.delays.clear();
    await topValue(page, "country", "France").click();
    await page.getByRole("button", { name: "Remove country is Germany" }).click();
    const french = RECORDS.filter((row) => row["country"] === "France").length;
    await eventually(() => figure(page, "Requests"), french.toLocaleString("en"));
    await page.waitForLoadState("networkidle");
    expect(await figure(page, "Requests")).toBe(french.toLocaleString("en"));
  });

  test("the first paint comes within a second, however slow the server is", async () => {
    scene.mock.delays.set("session", 3000);
    const page = await visit("");
    await page.getByText("Asking the server…").waitFor();
    const paint = await page.evaluate(
      () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    );
    expect(paint).toBeLessThan(1000);
  });
});
