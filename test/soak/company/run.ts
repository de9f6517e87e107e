/** An hour of a company's people, compressed: their sessions of yesterday are written, and then they come. */
import http from "node:http";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@keyv/redis";
import { loadConfig } from "../../../src/config/config.ts";
import { type Commands, writeSessions } from "../../support/many-sessions.ts";
import { register } from "../../support/oauth-client.ts";
import { type Deployment, startDeployment } from "../deployment.ts";
import { IDLE_MS } from "../http-client.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { type MemorySeries, watchMemory } from "../memory.ts";
import { endWith, lookInto, type SoakReport } from "../run.ts";
import { type Event, politeDeploy, runTimeline } from "../timeline.ts";
import { type Arrival, arrivals, NEW_PART } from "./arrivals.ts";
import { createLatencies, type Latencies } from "./latencies.ts";
import { type Around, call, comeForTheFirstTime, refresh, type Session, visit } from "./people.ts";

export interface CompanySettings {
  people: number;
  minutes: number;
  say(line: string): void;
}

export interface CompanyReport {
  settings: CompanySettings;
  /** Of the traffic, without what was written before and the roll call. */
  seconds: number;
  ledger: Ledger;
  latencies: Latencies;
  /** People who were waiting for something at the same time, at most. */
  mostAtOnce: number;
  /** By how much the process that sends was late, 99th percentile, milliseconds: no answer seems faster than that. */
  lateMs: number;
  rollCalled: number;
  redis: SoakReport["redis"];
  memory: MemorySeries[];
}

/** Auth0's default: the tokens of yesterday are still good at the provider. */
const PROVIDER_TOKEN_SECONDS = 86_400;
const EVENTS: readonly Event[] = [
  { name: "provider: down", at: 0.3, run: (on, ms) => on.failProvider("down", ms) },
  { name: "rolling deploy", at: 0.5, run: politeDeploy },
  { name: "Redis failover", at: 0.75, run: (on) => on.failOver() },
];
const ROLL_CALL = 500;
/** As delivered: everything shares the machine, and is slow when that is busy. */
const PATIENCE_SECONDS = 10;
/** Whoever still waits then is written down as unexpected by the client, which has less patience. */
const LAST_ANSWERS_MS = 150_000;

export async function companyHour(settings: CompanySettings): Promise<CompanyReport> {
  const { people, minutes, say } = settings;
  const durationMs = minutes * 60_000;
  http.globalAgent = new http.Agent({ keepAlive: true, timeout: IDLE_MS });
  const deployment = await startDeployment({
    refreshTokens: "static",
    accessTokenSeconds: PROVIDER_TOKEN_SECONDS,
    redis: "sentinel",
    upstreamTimeoutSeconds: PATIENCE_SECONDS,
  });
  const ending = endWith(() => deployment.close());
  try {
    const around = await signedUp(deployment);
    const newcomers = Math.round(people * NEW_PART);
    say(`Writing the sessions of ${people - newcomers} people`);
    const sessions = await sessionsOfYesterday(people - newcomers, around);
    const memory = watchMemory(deployment.servers, 2_000);
    const late = monitorEventLoopDelay({ resolution: 5 });
    const begun = performance.now();
    late.enable();
    around.ledger.begin("the hour begins");
    const happened = runTimeline(deployment, around.ledger, { events: EVENTS, durationMs, say });
    const mostAtOnce = await everybodyComes(arrivals({ people, durationMs }), sessions, around);
    await happened;
    late.disable();
    const seconds = (performance.now() - begun) / 1000;
    const series = memory.stop();
    around.ledger.begin("roll call");
    const rollCalled = await rollCall([...sessions.values()], around);
    const { ledger, latencies } = around;
    return {
      settings,
      seconds,
      ledger,
      latencies,
      mostAtOnce,
      lateMs: late.percentile(99) / 1e6,
      rollCalled,
      redis: await lookInto(deployment.redisUrl()),
      memory: series,
    };
  } finally {
    ending.cancel();
    await deployment.close();
  }
}

/** One application that everybody has. */
async function signedUp(deployment: Deployment): Promise<Around> {
  const client = await register(deployment.baseUrl, { client_name: "Everybody's application" });
  const pacer = { turn: async () => {}, charge: () => {} };
  return { deployment, client, ledger: createLedger(), latencies: createLatencies(), pacer };
}

/** @returns by the number of the person */
async function sessionsOfYesterday(count: number, around: Around): Promise<Map<number, Session>> {
  const { deployment, latencies: _, ...rest } = around;
  const model = await comeForTheFirstTime("the first", performance.now(), {
    deployment,
    ...rest,
    latencies: createLatencies(),
  });
  if (model === undefined) throw new Error("Nobody could sign in");
  const config = loadConfig(deployment.environment);
  const commands = createClient({ url: deployment.redisUrl() });
  await commands.connect();
  const { accessToken } = model;
  const written = await writeSessions(commands as unknown as Commands, config, {
    accessToken,
    count,
    sampled: count,
  });
  commands.destroy();
  const first = Math.round(count / (1 - NEW_PART)) - count;
  return new Map(written.map((tokens, i) => [first + i, { user: `user-${i}`, ...tokens }]));
}

/** Nobody waits for anybody. @returns how many were waiting at once, at most */
async function everybodyComes(
  coming: readonly Arrival[],
  sessions: Map<number, Session>,
  around: Around,
): Promise<number> {
  const begun = performance.now();
  const here = new Set<Promise<void>>();
  let mostAtOnce = 0;
  for (const { atMs, what, person } of coming) {
    const dueAt = begun + atMs;
    if (dueAt > performance.now()) await delay(dueAt - performance.now());
    const one = (what === "visit" ? comesBack(person) : isNew(person))
      .catch((error: unknown) => around.ledger.record(what, "unexpected", String(error)))
      .finally(() => here.delete(one));
    here.add(one);
    mostAtOnce = Math.max(mostAtOnce, here.size);

    async function comesBack(number: number): Promise<void> {
      const session = sessions.get(number);
      if (session !== undefined) await visit(session, dueAt, around);
    }
    async function isNew(number: number): Promise<void> {
      const session = await comeForTheFirstTime(`newcomer-${number}`, dueAt, around);
      if (session !== undefined) sessions.set(number, session);
    }
  }
  await Promise.race([Promise.all(here), delay(LAST_ANSWERS_MS, undefined, { ref: false })]);
  return mostAtOnce;
}

/** A sample of all: each has to be good for a refresh and a call. */
async function rollCall(sessions: readonly Session[], around: Around): Promise<number> {
  const every = Math.max(1, Math.floor(sessions.length / ROLL_CALL));
  const sample = sessions.filter((_, i) => i % every === 0);
  for (const session of sample) if (await refresh(session, around)) await call(session, around);
  return sample.length;
}
