/** `tools/call` side by side: every subject in turn, in several rounds. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Deployment, type Subject, signIn } from "./deployment.ts";
import { type Generation, type Load, load, type Measured } from "./load.ts";
import { signInAtPeer } from "./peer-sign-in.ts";
import { meterRedis } from "./redis-meter.ts";

export interface Effort {
  rounds: number;
  /** Per subject and round. */
  requests: number;
  /** Of each process before the first round, in all that it is asked. */
  warmUp: number;
  /** Before each of the measured ones: the process stood still, or did something else. */
  settling: number;
  /** That the cold calls are spread over. */
  coldSessions: number;
}

export interface Row {
  name: string;
  rounds: Measured[];
}

interface Contestant {
  name: string;
  subject: Subject;
  load: Omit<Load, "amount">;
}

const [OLD, NEW] = ["2025-11-25", "2026-07-28"] as const satisfies Generation[];
const COLD_CACHE_ENTRIES = 100;
const POLICY_RULES = 200;

/** The names that the report's ratios speak of. */
export const ROWS = {
  floor: "(a) express, JSON",
  sdkV2: "(b) MCP SDK v2, no auth",
  sdkV2Tools100: "(b) MCP SDK v2, no auth, 100 tools",
  sdkV1: "(c) MCP SDK v1, no auth",
  bare: "(d) ours without the bearer check",
  warm: "(e) ours, warm",
  warmTools10: "(e) ours, warm, 10 tools",
  warmTools100: "(e) ours, warm, 100 tools",
  warmWithPolicy: "(e) ours, warm, with a policy of 200 rules",
  cold: "(e) ours, cold: every session looked up",
  list: "(e) ours, tools/list of 100 tools",
  peer: "(f) fastmcp with its OAuth proxy",
  peerOpen: "(f) fastmcp, no auth",
  newSdkV2: "2026-07-28: (b) MCP SDK v2, no auth",
  newBare: "2026-07-28: (d) ours without the bearer check",
  newWarm: "2026-07-28: (e) ours, warm",
} as const;

export async function measureCalls(deployment: Deployment, effort: Effort): Promise<Row[]> {
  const redis = await meterRedis(deployment.redis.url);
  const contestants = await startContestants(deployment, effort);
  const rows = contestants.map(({ name }): Row => ({ name, rounds: [] }));
  for (const { subject, load: kind } of contestants) {
    const parts = contestants.filter((other) => other.subject === subject).length;
    await load(subject, redis, { ...kind, amount: Math.ceil(effort.warmUp / parts) });
  }
  const idle = await redis.idleCommandsPerSecond();
  for (let round = 0; round < effort.rounds; round++)
    for (const [index, { subject, load: kind }] of contestants.entries()) {
      await load(subject, redis, { ...kind, amount: effort.settling });
      rows[index]?.rounds.push(await load(subject, redis, { ...kind, amount: effort.requests }, idle));
    }
  await redis.close();
  return rows;
}

async function startContestants(deployment: Deployment, { coldSessions }: Effort): Promise<Contestant[]> {
  const one = { tools: 1 };
  const warm = await deployment.ours({ ...one, guarded: true });
  const { access_token: accessToken } = await signIn(deployment);
  const accessTokens = [accessToken];
  const cold = await deployment.ours(
    { ...one, guarded: true },
    { GRANT_CACHE_ENTRIES: String(COLD_CACHE_ENTRIES) },
  );
  const many = await cold.ask<string[]>({ accessToken, sessions: coldSessions });
  const bare = await deployment.ours({ ...one, guarded: false });
  const withPolicy = await startWithPolicy(deployment);
  const with100 = await deployment.ours({ tools: 100, guarded: true });
  const sdkV2 = await deployment.plain("sdk-v2", one);
  const nobody = { generation: OLD, accessTokens: [] };
  const signedIn = { generation: OLD, accessTokens };
  return [
    { name: ROWS.floor, subject: await deployment.plain("express-json", one), load: nobody },
    { name: ROWS.sdkV2, subject: sdkV2, load: nobody },
    { name: ROWS.sdkV1, subject: await deployment.plain("sdk-v1", one), load: nobody },
    { name: ROWS.bare, subject: bare, load: nobody },
    { name: ROWS.warm, subject: warm, load: signedIn },
    { name: ROWS.warmWithPolicy, subject: withPolicy, load: signedIn },
    { name: ROWS.cold, subject: cold, load: { ...signedIn, accessTokens: many } },
    { name: ROWS.peerOpen, subject: await deployment.fastmcp(one, false), load: nobody },
    await authenticatedPeer(deployment),
    { name: ROWS.warmTools10, subject: await deployment.ours({ tools: 10, guarded: true }), load: signedIn },
    { name: ROWS.warmTools100, subject: with100, load: signedIn },
    { name: ROWS.list, subject: with100, load: { ...signedIn, method: "tools/list" } },
    { name: ROWS.sdkV2Tools100, subject: await deployment.plain("sdk-v2", { tools: 100 }), load: nobody },
    { name: ROWS.newSdkV2, subject: sdkV2, load: { ...nobody, generation: NEW } },
    { name: ROWS.newBare, subject: bare, load: { ...nobody, generation: NEW } },
    { name: ROWS.newWarm, subject: warm, load: { ...signedIn, generation: NEW } },
  ];
}

/** The rules are about others, as most of a company's are for each of its people. */
async function startWithPolicy(deployment: Deployment): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const file = join(folder, "policy.yaml");
  const rules = Array.from(
    { length: POLICY_RULES },
    (_, n) => `  - { name: rule ${n}, for: { users: [user-${n}] }, deny: { tools: [weather_1] } }\n`,
  );
  writeFileSync(file, `rules:\n${rules.join("")}`);
  const subject = await deployment.ours({ tools: 1, guarded: true }, { POLICY_FILE: file });
  rmSync(folder, { recursive: true });
  return subject;
}

async function authenticatedPeer(deployment: Deployment): Promise<Contestant> {
  const subject = await deployment.fastmcp({ tools: 1 }, true);
  const accessToken = await signInAtPeer(deployment.peerOrigin);
  return { name: ROWS.peer, subject, load: { generation: OLD, accessTokens: [accessToken] } };
}
