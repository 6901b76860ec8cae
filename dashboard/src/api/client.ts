// The one place that talks to the server: token, errors, and the stream of the live tail.
//
// Every address is relative to the page, so no other host is ever asked.

import type { Problem } from "./types";

/** An answer that is not the wanted one, in the words of the server. */
export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail || problem.title);
    this.problem = problem;
  }
}

/** The answers that stand in the page itself: it is a report, and nobody is asked. */
const answers = embedded();
export const isReport = answers !== null;

function embedded(): Record<string, unknown> | null {
  const element = typeof document === "undefined" ? null : document.getElementById("report");
  return element ? (JSON.parse(element.textContent ?? "") as Record<string, unknown>) : null;
}

/** Answers stand under their path with its conditions; how many rows there are was decided. */
export function answerOf(answers: Record<string, unknown>, path: string): unknown {
  const [name = "", query = ""] = path.split("?");
  const filters = new URLSearchParams(query).getAll("filter").map((filter) => `filter=${filter}`);
  const key = filters.length === 0 ? name : `${name}?${filters.join("&")}`;
  if (key in answers) return answers[key];
  throw new ApiError({ title: "This is not in the report", status: 404, detail: key });
}

const TOKEN_KEY = "logmill-token";
/** A line of the tail that is longer than this is not one of ours. */
const EVENT_CHARS_MAX = 4_000_000;

type Asker = (refused: boolean) => Promise<string>;
let askForToken: Asker = () => Promise.reject(new Error("nobody to ask for a token"));
let asking: Promise<string> | null = null;

/** The page says once how a person is asked for the token. */
export function onTokenNeeded(asker: Asker): void {
  askForToken = asker;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  if (answers !== null) return answerOf(answers, path) as T;
  const response = await request(path, signal ? { signal } : {});
  return (await response.json()) as T;
}

export async function postJson<T>(path: string, body: unknown): Promise<T> {
  const response = await request(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await response.json()) as T;
}

/** Calls back for each event until the stream ends; a broken stream is an error. */
export async function readEvents(
  path: string,
  signal: AbortSignal,
  onOpen: () => void,
  onEvent: (text: string) => void,
): Promise<void> {
  const response = await request(path, { signal, headers: { accept: "text/event-stream" } });
  if (!response.body) throw new Error("the server sent no stream");
  onOpen();
  const events = new EventParser(onEvent);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    events.push(value);
  }
}

/** Cuts a `text/event-stream` into the data of its events. */
export class EventParser {
  private rest = "";
  private lines: string[] = [];
  private readonly onEvent: (text: string) => void;

  constructor(onEvent: (text: string) => void) {
    this.onEvent = onEvent;
  }

  push(chunk: string): void {
    this.rest += chunk;
    if (this.rest.length > EVENT_CHARS_MAX) throw new Error("an event of the tail is too long");
    for (;;) {
      const end = this.rest.indexOf("\n");
      if (end < 0) return;
      const line = this.rest.slice(0, end).replace(/\r$/, "");
      this.rest = this.rest.slice(end + 1);
      this.takeLine(line);
    }
  }

  private takeLine(line: string): void {
    if (line === "") {
      if (this.lines.length > 0) this.onEvent(this.lines.join("\n"));
      this.lines = [];
    } else if (line.startsWith("data:")) {
      this.lines.push(line.slice(5).replace(/^ /, ""));
    }
  }
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response = await send(path, init);
  let refused = storedToken() !== null;
  while (response.status === 401) {
    await newToken(refused);
    refused = true;
    response = await send(path, init);
  }
  if (!response.ok) throw new ApiError(await problemOf(response));
  return response;
}

async function send(path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  const token = storedToken();
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  try {
    return await fetch(path, { ...init, headers });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError({
      title: "The server does not answer",
      status: 0,
      detail: "Is `logmill serve` running, and is the network up?",
    });
  }
}

/** All requests that are refused at the same time share one question. */
async function newToken(refused: boolean): Promise<void> {
  asking ??= askForToken(refused).finally(() => (asking = null));
  const token = await asking;
  sessionStorage.setItem(TOKEN_KEY, token);
}

function storedToken(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

async function problemOf(response: Response): Promise<Problem> {
  const title = `The server answered ${response.status} ${response.statusText}`.trim();
  const fallback = { title, status: response.status };
  try {
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null) return fallback;
    return { ...fallback, ...(body as Partial<Problem>) };
  } catch {
    return fallback;
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** What a person reads of any error. */
export function problemText(error: unknown): { title: string; detail: string; hint: string } {
  if (error instanceof ApiError) {
    const { title, detail, hint } = error.problem;
    return { title, detail: detail ?? "", hint: hint ?? "" };
  }
  const detail = error instanceof Error ? error.message : "";
  return { title: "This did not work", detail, hint: "" };
}
