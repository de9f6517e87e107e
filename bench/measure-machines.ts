/** Callers without a browser: tokens of another issuer beside our own in one process, and tokens that clients get for themselves. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTokenIssuer, type TokenIssuer } from "../test/support/token-issuer.ts";
import { type Deployment, type Subject, signIn } from "./deployment.ts";
import { load, type Measured, sendAll } from "./load.ts";
import type { Effort, Row } from "./measure-calls.ts";
import { meterRedis, type RedisMeter } from "./redis-meter.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";

/** The names that the report's ratios speak of. */
export const MACHINE_ROWS = {
  own: "a token of ours, warm",
  warm: "another issuer's JWT (ES256), warm",
  cold: "another issuer's JWT (ES256), cold: every token is new",
  credentials: "client credentials at `/token`, by secret",
} as const;

export async function measureMachines(deployment: Deployment, effort: Effort): Promise<Row[]> {
  const closing: Array<() => void> = [];
  const issuer = await startTokenIssuer({ after: (close) => void closing.push(close) });
  const redis = await meterRedis(deployment.redis.url);
  try {
    const kinds = kindsOf(deployment, issuer, await startTrusting(deployment, issuer), redis);
    const { access_token: own } = await signIn(deployment);
    const rows = Object.keys(kinds).map((name): Row => ({ name, rounds: [] }));
    for (const measure of Object.values(kinds)) await measure(own, effort.warmUp, 0);
    const idle = await redis.idleCommandsPerSecond();
    for (let round = 0; round < effort.rounds; round++)
      for (const [index, measure] of Object.values(kinds).entries()) {
        await measure(own, effort.settling, idle);
        rows[index]?.rounds.push(await measure(own, effort.requests, idle));
      }
    return rows;
  } finally {
    await redis.close();
    for (const close of closing) close();
  }
}

/** A server that trusts the issuer, and has a client of its own. */
async function startTrusting(deployment: Deployment, { issuer }: TokenIssuer): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const file = join(folder, "server.yaml");
  const scopes = "{ read: [weather:read] }";
  writeFileSync(file, `issuers:\n  - { issuer: "${issuer}", accept: access-token, scopes: ${scopes} }\n`);
  const client = { client_id: "machine", client_secret: SECRET, grant_types: ["client_credentials"] };
  const subject = await deployment.ours(
    { tools: 1, guarded: true },
    {
      CONFIG_FILE: file,
      CLIENTS: JSON.stringify([{ ...client, scope: "weather:read" }]),
      TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "1000000",
      TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE: "1000000",
    },
  );
  rmSync(folder, { recursive: true });
  return subject;
}

type Kind = (own: string, amount: number, idle: number) => Promise<Measured>;

function kindsOf(
  { port }: Deployment,
  issuer: TokenIssuer,
  subject: Subject,
  redis: RedisMeter,
): Record<string, Kind> {
  const sign = (index: number) =>
    issuer.sign(
      {
        aud: `http://localhost:${port}/mcp`,
        sub: `alice-${index}`,
        client_id: "app",
        scope: "read",
        // The warm one lasts until the end of the run.
        exp: Math.floor(Date.now() / 1000) + 7_200,
      },
      { typ: "at+jwt" },
    );
  const signMany = (count: number) => Promise.all(Array.from({ length: count }, (_, index) => sign(index)));
  const call = (accessTokens: string[], amount: number, idle: number) =>
    load(subject, redis, { amount, generation: "2025-11-25", accessTokens }, idle);
  const one = sign(0);
  return {
    [MACHINE_ROWS.own]: (own, amount, idle) => call([own], amount, idle),
    [MACHINE_ROWS.warm]: async (_own, amount, idle) => call([await one], amount, idle),
    // Twice as many as are used, so that a fast connection does not come to where another one began.
    [MACHINE_ROWS.cold]: async (_own, amount, idle) => call(await signMany(2 * amount), amount, idle),
    [MACHINE_ROWS.credentials]: (_own, amount, idle) => {
      const form = { grant_type: "client_credentials", client_id: "machine", client_secret: SECRET };
      const request = {
        method: "POST" as const,
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: String(new URLSearchParams(form)),
      };
      const url = subject.url.replace(/mcp$/, "token");
      return sendAll(subject, redis, { url, amount, requests: [request], part: '"access_token"' }, idle);
    },
  };
}
