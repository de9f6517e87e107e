/** What the doctor's tests share: a look at a deployment in this process, and the command as people run it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { runDoctor as doctor } from "../../src/cli/doctor/command.ts";
import { PATIENCE } from "../../src/cli/doctor/deployment.ts";
import { examine } from "../../src/cli/doctor/examine.ts";
import type { Finding } from "../../src/cli/doctor/finding.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { prompts, resources, scopes, tools } from "../../src/tools/index.ts";
import { type Ran, ran, ranAsProcess } from "../support/ran.ts";

export const SECRET_KEY = "kV7n2QyW9sLpX4tRb8cZ1mJ6gFh3dNq5uEaYwTzKoPiUvBxM";
export const CLIENT_SECRET = "kR3-client-secret-of-the-tests-9Zx";
export const AUDIENCE = "https://weather.example.com";

export const FEATURES = { tools, resources, prompts, scopes };

export interface Seen {
  findings: Finding[];
  /** The one finding of this check. */
  of(check: string): Finding;
  /** Its mark and sentence, such as `✗ The callback URL is …`. */
  line(check: string): string;
}

const MARK = { ok: "✓", warning: "!", unknown: "!", failure: "✗" };

export async function look(
  environment: Record<string, string | undefined>,
  { now = systemClock, patience = PATIENCE } = {},
): Promise<Seen> {
  const quiet = { CLIENT_ID_METADATA: "off", ...environment };
  const { sections } = await examine(quiet, FEATURES, {
    now,
    randomBytes,
    log: pino({ level: "silent" }),
    node: { version: "v26.1.0", lts: "Here" },
    patience,
  });
  return seen(sections.flatMap(({ findings }) => findings));
}

export function seen(findings: Finding[]): Seen {
  for (const finding of findings) expectSentences(finding);
  const of = (check: string): Finding => {
    const [found, ...others] = findings.filter((each) => each.check === check);
    assert.ok(found !== undefined, `${check} is among ${findings.map((each) => each.check).join(", ")}`);
    assert.equal(others.length, 0, `${check} is found once`);
    return found;
  };
  return { findings, of, line: (check) => lineOf(of(check)) };
}

/** Whatever is not in order says what to do; and both are sentences that somebody finished. */
export function expectSentences(finding: Finding): void {
  const texts = finding.status === "ok" ? [finding.says] : [finding.says, finding.fix];
  for (const text of texts) {
    assert.match(text, /^[A-Z“]/, `begins like a sentence: ${text}`);
    assert.doesNotMatch(text, /undefined|null|NaN|\[object|\$\{|\.\.$|\n/, `is finished: ${text}`);
  }
  if (finding.status === "ok") return;
  assert.ok(finding.fix.length > 20, `says what to do: ${finding.fix}`);
  assert.notEqual(finding.fix, finding.says);
}

export function lineOf(finding: Finding): string {
  expectSentences(finding);
  return `${MARK[finding.status]} ${finding.says}${"fix" in finding ? ` → ${finding.fix}` : ""}`;
}

/** Nothing works, and nothing costs time: what a test is about is laid over it. */
export const NOTHING_WORKS = {
  BASE_URL: "http://localhost:2",
  PORT: "2",
  OIDC_ISSUER: "http://localhost:2",
  OIDC_CLIENT_ID: "proxy",
  OIDC_CLIENT_SECRET: CLIENT_SECRET,
  REDIS_URL: "redis://localhost:2",
  SECRET_KEY,
};

export interface Listening {
  port: number;
  close(): Promise<void>;
}

export async function listen(answer: RequestListener): Promise<Listening> {
  return started(createServer(answer));
}

/** Accepts, and never says a word. */
export async function listenSilently(): Promise<Listening> {
  const server = createTcpServer((socket) => void socket.on("error", () => {}));
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export async function started(server: Server): Promise<Listening> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** `npm run doctor` in this process; the environment is all that it sees. */
export function runDoctor(
  environment: Record<string, string | undefined>,
  args: readonly string[] = [],
  stdin = "",
): Promise<Ran> {
  const seen = { CLIENT_ID_METADATA: "off", ...environment };
  return ran((streams) => doctor(args, () => seen, streams, PATIENCE), stdin);
}

/** The same as a process of its own, in a folder without .env. */
export async function doctorProcess(
  environment: Record<string, string | undefined>,
  args: readonly string[] = [],
  input = "",
): Promise<Ran> {
  const cwd = mkdtempSync(join(tmpdir(), "doctor-"));
  const env = { CLIENT_ID_METADATA: "off", ...environment };
  const result = await ranAsProcess("src/cli/doctor", args, { cwd, env, input });
  rmSync(cwd, { recursive: true });
  return result;
}
