// A server that holds to the HTTP contract, for the tests of the page: no network, no Logmill.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

import type { Milling, Row } from "../../src/api/types";
import { analytics, matching, RECORDS, Refusal } from "./analytics";
import { Pipelines } from "./pipelines";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};
const DIST = new URL("../../dist/", import.meta.url).pathname;

export class MockServer {
  /** What the tests change. */
  rows: Row[] = RECORDS;
  token: string | null = null;
  hasTable = true;
  writable = true;
  /** A run that fills the table. */
  milling: Milling | null = null;
  /** Answers of these paths are problems. */
  failing = new Map<string, { status: number; title: string; detail: string }>();
  /** Milliseconds that an answer below this path takes. */
  delays = new Map<string, number>();
  pipelines = new Pipelines();
  /** Every path that was asked for, with its query. */
  asked: string[] = [];

  private tails = new Set<{ params: URLSearchParams; response: ServerResponse }>();
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<MockServer> {
    const server = createServer();
    const mock = new MockServer(server);
    server.on("request", (request, response) => void mock.answer(request, response));
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    return mock;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  /** As after `start`. */
  reset(): void {
    this.rows = RECORDS;
    this.token = null;
    this.hasTable = true;
    this.writable = true;
    this.milling = null;
    this.failing.clear();
    this.delays.clear();
    this.pipelines = new Pipelines();
    this.asked = [];
    this.endTails();
  }

  get followers(): number {
    return this.tails.size;
  }

  /** A new record, for whoever follows and whoever asks later. */
  append(row: Row): void {
    this.rows = [...this.rows, row];
    for (const { params, response } of this.tails) {
      if (matching([row], params).length > 0) response.write(`data: ${JSON.stringify(row)}\n\n`);
    }
  }

  endTails(): void {
    for (const { response } of this.tails) response.end();
    this.tails.clear();
  }

  async stop(): Promise<void> {
    this.endTails();
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const path = url.pathname.slice(1);
    response.setHeader("content-security-policy", "default-src 'self'; frame-ancestors 'none'");
    if (await this.sendFile(path, response)) return;
    this.asked.push(path + url.search);
    const delay = [...this.delays].find(([prefix]) => path.startsWith(prefix))?.[1] ?? 0;
    if (delay > 0) await new Promise((done) => setTimeout(done, delay));
    const failure = [...this.failing].find(([prefix]) => path.startsWith(prefix))?.[1];
    if (failure) return sendProblem(response, failure.status, failure.title, failure.detail);
    if (this.token !== null && request.headers.authorization !== `Bearer ${this.token}`) {
      return sendProblem(response, 401, "Unauthorized", "a token is needed");
    }
    try {
      await this.route(request, response, path, url.searchParams);
    } catch (error) {
      const status = error instanceof Refusal ? error.status : 500;
      sendProblem(response, status, "The request cannot be answered", String(error));
    }
  }

  private async route(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    params: URLSearchParams,
  ): Promise<void> {
    if (path === "session") return sendJson(response, this.session());
    if (path === "analytics/tail") return this.tail(request, response, params);
    if (path.startsWith("analytics/")) {
      return sendJson(response, analytics(path.slice("analytics/".length), params, this.rows));
    }
    const [first, name = "", ...rest] = path.split("/").map(decodeURIComponent);
    const known = first === "pipelines" ? this.pipelines.detail(name) : null;
    if (path === "pipelines") return sendJson(response, this.pipelines.list());
    if (!known) throw new Refusal(404, `there is no ${path}`);
    const part = rest.join("/");
    if (part === "dead_letters/replay") {
      return sendJson(response, this.pipelines.replay(JSON.parse(await bodyOf(request))));
    }
    const answers: Record<string, () => unknown> = {
      "": () => known,
      epochs: () => this.pipelines.epochs(Number(params.get("limit") ?? "50")),
      dead_letters: () => this.pipelines.find(params),
      runs: () => this.pipelines.runs(),
    };
    const answer = answers[part];
    if (!answer) throw new Refusal(404, `there is no ${path}`);
    sendJson(response, answer());
  }

  private session() {
    const analytics = { table: "web_logs", time: "ts", backend: "lake" };
    return {
      version: "0.0.0-mock",
      analytics: this.hasTable ? analytics : null,
      writable: this.writable,
      milling: this.milling,
    };
  }

  private tail(request: IncomingMessage, response: ServerResponse, params: URLSearchParams): void {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": hello\n\n");
    const follower = { params, response };
    this.tails.add(follower);
    request.on("close", () => this.tails.delete(follower));
  }

  private async sendFile(path: string, response: ServerResponse): Promise<boolean> {
    const name = path === "" ? "index.html" : normalize(path);
    const type = TYPES[extname(name)];
    if (!type || name.startsWith("..") || path.startsWith("analytics")) return false;
    try {
      const text = await readFile(join(DIST, name));
      response.writeHead(200, { "content-type": type }).end(text);
      return true;
    } catch {
      return false;
    }
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function sendProblem(
  response: ServerResponse,
  status: number,
  title: string,
  detail: string,
): void {
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ type: "about:blank", title, status, detail }));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
