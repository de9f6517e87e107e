/**
 * What it costs to pass a call on to an MCP server: this server, which decides about it, beside programs that only pass bytes and
 * beside our own call of a tool.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Deployment, type Subject, signIn } from "./deployment.ts";
import { type Load, load, type Measurable } from "./load.ts";
import type { Effort, Row } from "./measure-calls.ts";
import { startPassing } from "./passing-program.ts";
import { meterRedis } from "./redis-meter.ts";

/** The names that the report's ratios speak of. */
export const PASS_THROUGH_ROWS = {
  backend: "the server alone (MCP SDK v2)",
  nginx: "nginx in front of it: nginx alone",
  haproxy: "HAProxy in front of it: HAProxy alone",
  own: "our own tool, called directly",
  through: "this server in front of it: this server alone",
} as const;

/** Of the resource that is passed on. */
export const PATH = "/behind/mcp";

export interface PassThroughFigures {
  rows: Row[];
  /** The same with {@link CROWDED} connections, where latency is looked at. */
  crowded: Row[];
}

const CROWDED = 16;

export async function measurePassThrough(
  deployment: Deployment,
  effort: Effort,
): Promise<PassThroughFigures> {
  const redis = await meterRedis(deployment.redis.url);
  const backend = await deployment.plain("sdk-v2", { tools: 1 });
  const ours = await startInFront(deployment, backend.url);
  const passing = [await startPassing("nginx", backend), await startPassing("haproxy", backend)] as const;
  const [nginx, haproxy] = passing;
  try {
    const nobody = { generation: "2025-11-25", accessTokens: [] } satisfies Omit<Load, "amount">;
    const subjects: Record<keyof typeof PASS_THROUGH_ROWS, Contestant> = {
      backend: { subject: backend, call: nobody },
      nginx: { subject: nginx, call: nobody },
      haproxy: { subject: haproxy, call: nobody },
      own: { subject: ours, call: await signedIn(deployment, nobody) },
      // The same process, so that the two differ in nothing else.
      through: { subject: behind(ours), call: await signedIn(deployment, nobody, PATH) },
    };
    const contestants = Object.entries(subjects).map(([key, { subject, call }]) => ({
      name: PASS_THROUGH_ROWS[key as keyof typeof PASS_THROUGH_ROWS],
      measure: (amount: number, idle: number, connections?: number) =>
        load(subject, redis, { ...call, amount, ...(connections && { connections }) }, idle),
    }));
    for (const { measure } of contestants) await measure(effort.warmUp, 0);
    const idle = await redis.idleCommandsPerSecond();
    const rowsWith = async (connections?: number): Promise<Row[]> => {
      const rows = contestants.map(({ name }): Row => ({ name, rounds: [] }));
      for (let round = 0; round < effort.rounds; round++)
        for (const [index, { measure }] of contestants.entries()) {
          await measure(effort.settling, idle, connections);
          rows[index]?.rounds.push(await measure(effort.requests, idle, connections));
        }
      return rows;
    };
    return { rows: await rowsWith(), crowded: await rowsWith(CROWDED) };
  } finally {
    await Promise.all(passing.map((each) => each.stop()));
    await redis.close();
  }
}

interface Contestant {
  subject: Measurable & { url: string };
  call: Omit<Load, "amount">;
}

async function signedIn(
  deployment: Deployment,
  call: Contestant["call"],
  path?: string,
): Promise<Contestant["call"]> {
  const { access_token: accessToken } = await signIn(deployment, path);
  return { ...call, accessTokens: [accessToken] };
}

export function behind(ours: Subject): Contestant["subject"] {
  return { ...ours, url: ours.url.replace(/\/mcp$/, PATH) };
}

/** With a tool of its own at /mcp, and the server behind it at another path. */
export async function startInFront(
  deployment: Deployment,
  server: string,
  environment: Record<string, string> = {},
): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const file = join(folder, "server.yaml");
  const scopes = { "weather:read": "Read the weather" };
  const needs = { tools: { weather_1: Object.keys(scopes) } };
  // JSON is YAML.
  writeFileSync(
    file,
    JSON.stringify({ resources: { "/mcp": {}, [PATH]: { name: "Behind", server, scopes, needs } } }),
  );
  const subject = await deployment.ours({ tools: 1, guarded: true }, { CONFIG_FILE: file, ...environment });
  rmSync(folder, { recursive: true });
  return subject;
}
