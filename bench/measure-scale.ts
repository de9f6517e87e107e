/**
 * What grows with live sessions, and what does not: a deployment with many beside one with a thousand, each with a Redis, an
 * identity provider and a server of its own, in turns, so that whatever disturbs one disturbs both. All sessions are of one
 * client, as those of a client with a metadata document are.
 */
import { PassThrough } from "node:stream";
import { createClient, createCluster, type RedisClientType } from "@keyv/redis";
import { runAdmin } from "../src/cli/admin/program.ts";
import { type Config, loadConfig } from "../src/config/config.ts";
import { clientIndex } from "../src/grants/grant-index.ts";
import { openConnections } from "../test/support/connections.ts";
import { type Commands, type Session, writeSessions } from "../test/support/many-sessions.ts";
import {
  authorize,
  callTool,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../test/support/oauth-client.ts";
import { startRedis } from "../test/support/redis.ts";
import { startRedisCluster } from "../test/support/redis-cluster.ts";
import { type Deployment, type OtherRedis, type Subject, startDeployment } from "./deployment.ts";
import { meterRedis, type RedisMeter } from "./redis-meter.ts";
import { ratio, type Spread, spread } from "./statistics.ts";

export const FEW = 1_000;
export type Topology = "one Redis" | "a cluster of three";

const STEPS = [
  "sign-in",
  "refresh",
  "warm call",
  "cold call",
  "end of one",
  "/connections",
  "admin grants list --user",
] as const;
export type Step = (typeof STEPS)[number];

/** Milliseconds; the second is per 1,000 sessions, of what has to read or end every one. */
export interface Grown<Name> {
  name: Name;
  fewMs: Spread;
  manyMs: Spread;
  ratio: Spread;
}

export interface ScaleFigures {
  topology: Topology;
  sessions: number;
  writingSeconds: number;
  steps: Array<Grown<Step>>;
  /** Commands of Redis, scripts' own included. */
  signInCommands: { few: Spread; many: Spread };
  perThousand: Array<Grown<"admin grants list" | "end of all of a client">>;
  /** How many ended within the time that was given. */
  ended: number;
  redisBytesPerSession: number;
  /** Of the server, which sees all of these sessions for the first time. */
  serverBytes: { few: number; many: number };
  /** What held Redis longest, in microseconds by its own clock. */
  longest: { microseconds: number; command: string };
}

export interface ScaleEffort {
  sizes: readonly number[];
  rounds: number;
  /** For the end of all. */
  endingSeconds: number;
  /** Lists are read as long as there are no more. */
  mostListed: number;
}

/** Calls of one step: one alone is too short to be measured. */
const CALLS = 10;
const SLOWER_THAN_US = 1_000;

interface Side {
  deployment: Deployment;
  server: Subject;
  baseUrl: string;
  environment: Record<string, string>;
  config: Config;
  client: Registered;
  sample: Session[];
  meters: RedisMeter[];
  clients: RedisClientType[];
  bytesPerSession: number;
  writingSeconds: number;
  close(): Promise<void>;
}

export async function measureScale(
  topology: Topology,
  { sizes, ...effort }: ScaleEffort,
  say: (what: string) => void,
): Promise<ScaleFigures[]> {
  const figures: ScaleFigures[] = [];
  for (const sessions of sizes) {
    say(`${sessions.toLocaleString("en")} sessions in ${topology}`);
    const few = await startSide(topology, FEW);
    const many = await startSide(topology, sessions);
    try {
      figures.push(await measured(topology, sessions, few, many, effort));
    } finally {
      await many.close();
      await few.close();
    }
  }
  return figures;
}

async function measured(
  topology: Topology,
  sessions: number,
  few: Side,
  many: Side,
  effort: Omit<ScaleEffort, "sizes">,
): Promise<ScaleFigures> {
  const times = { few: [] as Array<Record<Step, number>>, many: [] as Array<Record<Step, number>> };
  const commands = { few: [] as number[], many: [] as number[] };
  for (const side of [few, many]) await steps(side, 0); // connections are made, scripts are known
  await slowest(many);
  for (let round = 1; round <= effort.rounds; round++)
    for (const [name, side] of round % 2 === 0 ? SIDES(few, many) : SIDES(few, many).reverse()) {
      const { took, signInCommands } = await steps(side, round);
      times[name].push(took);
      commands[name].push(signInCommands);
    }
  const serverBytes = { few: await few.server.memory(), many: await many.server.memory() };
  const isListed = sessions <= effort.mostListed;
  const listed = isListed ? [await thousandListed(few, FEW), await thousandListed(many, sessions)] : [];
  const [endedFew, endedMany] = [await endAll(few, effort), await endAll(many, effort)];
  return {
    topology,
    sessions,
    writingSeconds: many.writingSeconds,
    steps: STEPS.map((step) =>
      grown(
        step,
        times.few.map((each) => each[step]),
        times.many.map((each) => each[step]),
      ),
    ),
    signInCommands: { few: spread(commands.few), many: spread(commands.many) },
    perThousand: [
      ...(isListed ? [grown("admin grants list" as const, listed.slice(0, 1), listed.slice(1))] : []),
      grown("end of all of a client" as const, [endedFew.msPerThousand], [endedMany.msPerThousand]),
    ],
    ended: endedMany.ended,
    redisBytesPerSession: many.bytesPerSession,
    serverBytes,
    longest: await slowest(many),
  };
}

const SIDES = (few: Side, many: Side): Array<["few" | "many", Side]> => [
  ["few", few],
  ["many", many],
];

function grown<Name>(name: Name, few: readonly number[], many: readonly number[]): Grown<Name> {
  return { name, fewMs: spread(few), manyMs: spread(many), ratio: ratio(many, few) };
}

async function startSide(topology: Topology, sessions: number): Promise<Side> {
  const { other, urls, commands, disconnect } = await startStore(topology);
  const deployment = await startDeployment(other);
  const server = await deployment.ours({ tools: 1, guarded: true }, { REDIS_TIMEOUT_MS: "10000" });
  const baseUrl = `http://localhost:${deployment.port}`;
  const environment = { ...deployment.environment(deployment.port), REDIS_TIMEOUT_MS: "10000" };
  const config = loadConfig(environment);
  const client = await register(baseUrl);
  const { access_token: accessToken } = await signInForTokens(baseUrl, client);
  const meters = await Promise.all(urls.map(meterRedis));
  const clients = await Promise.all(
    urls.map(async (url) => {
      const each = createClient({ url }).on("error", () => {}) as RedisClientType;
      await each.connect();
      await each.sendCommand(["CONFIG", "SET", "slowlog-log-slower-than", String(SLOWER_THAN_US)]);
      return each;
    }),
  );
  const before = await sum(meters.map((meter) => meter.usedMemory()));
  const startedAt = performance.now();
  const sample = await writeSessions(commands, config, { accessToken, count: sessions, sampled: FEW });
  const writingSeconds = (performance.now() - startedAt) / 1000;
  const bytesPerSession = ((await sum(meters.map((meter) => meter.usedMemory()))) - before) / sessions;
  return {
    ...{ deployment, server, baseUrl, environment, config, client, sample, meters, clients },
    ...{ bytesPerSession, writingSeconds },
    async close() {
      for (const each of clients) each.destroy();
      await Promise.all(meters.map((meter) => meter.close()));
      disconnect();
      await deployment.close();
    },
  };
}

interface StartedStore {
  other: OtherRedis;
  /** Of every server that has keys. */
  urls: string[];
  commands: Commands;
  disconnect(): void;
}

async function startStore(topology: Topology): Promise<StartedStore> {
  if (topology === "one Redis") {
    const redis = await startRedis();
    const commands = createClient({ url: redis.url }).on("error", () => {}) as RedisClientType;
    await commands.connect();
    const other = { redis, environment: { REDIS_URL: redis.url } };
    return { other, urls: [redis.url], commands, disconnect: () => commands.destroy() };
  }
  const redis = await startRedisCluster();
  const commands = createCluster({ rootNodes: redis.urls.map((url) => ({ url })) }).on("error", () => {});
  await commands.connect();
  const other = {
    redis: { url: redis.urls[0] ?? "", stop: redis.stop },
    environment: { REDIS_CLUSTER_NODES: redis.urls.join() },
  };
  return {
    other,
    urls: redis.urls,
    commands: commands as unknown as Commands,
    disconnect: () => commands.destroy(),
  };
}

/** Each step once; sessions of the sample are used in turn, so that a cold call is one. */
async function steps(
  { baseUrl, client, sample, meters, environment }: Side,
  round: number,
): Promise<{ took: Record<Step, number>; signInCommands: number }> {
  const login = `person-${round}`;
  const browser = newBrowser();
  const url = `${baseUrl}/mcp`;
  const commands = () => sum(meters.map((meter) => meter.commands()));
  const call = async (accessToken: string) => {
    const { status } = await callTool(url, accessToken, "weather_1", { city: "Berlin" });
    if (status !== 200) throw new Error(`A call was answered ${status}`);
  };

  const before = await commands();
  const signedIn = await timed(async () => {
    const code = (await authorize(baseUrl, client, { browser, login })).get("code");
    return (await redeem(baseUrl, client, code)).body;
  });
  const signInCommands = (await commands()) - before;
  const mine = sample.slice(round * (CALLS + 1), (round + 1) * (CALLS + 1));
  const [first, ...cold] = mine;
  const refreshed = await timed(() => refresh(baseUrl, client, first?.refreshToken ?? ""));
  if (refreshed.result.status !== 200) throw new Error(`A refresh was answered ${refreshed.result.status}`);
  const coldCalls = await timed(async () => {
    for (const { accessToken } of cold) await call(accessToken);
  });
  await call(signedIn.result.access_token);
  const warmCalls = await timed(async () => {
    for (let i = 0; i < CALLS; i++) await call(signedIn.result.access_token);
  });
  await openConnections(baseUrl, { browser, login });
  const page = await timed(() => browser.get(`${baseUrl}/connections`));
  if (!page.result.body.includes("Test client")) throw new Error("/connections does not show the session");
  const listed = await timed(() => admin(environment, ["grants", "list", "--user", login]));
  const ended = await timed(() => revoke(baseUrl, client, signedIn.result.refresh_token));
  if (ended.result.status !== 200) throw new Error(`A revocation was answered ${ended.result.status}`);
  const took = {
    "sign-in": signedIn.ms,
    refresh: refreshed.ms,
    "warm call": warmCalls.ms / CALLS,
    "cold call": coldCalls.ms / CALLS,
    "end of one": ended.ms,
    "/connections": page.ms,
    "admin grants list --user": listed.ms,
  };
  return { took, signInCommands };
}

async function thousandListed({ environment }: Side, sessions: number): Promise<number> {
  return (await timed(() => admin(environment, ["grants", "list", "--json"]))).ms / (sessions / 1_000);
}

/** The client removes its registration, as often as it is told to come again. */
async function endAll(
  { client, clients, config }: Side,
  { endingSeconds }: Pick<ScaleEffort, "endingSeconds">,
): Promise<{ ended: number; msPerThousand: number }> {
  const { keyPrefix } = config.store as Extract<Config["store"], { kind: "redis" }>;
  const index = `${keyPrefix}:index:${clientIndex(client.client_id)}`;
  const left = () =>
    sum(clients.map(async (each) => Number(await each.sendCommand(["ZCARD", index]).catch(() => 0))));
  const before = await left();
  const startedAt = performance.now();
  const remove = () =>
    fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { Authorization: `Bearer ${client.registration_access_token}` },
    });
  while ((await remove()).status !== 204 && performance.now() < startedAt + endingSeconds * 1000);
  const ms = performance.now() - startedAt;
  const ended = before - (await left());
  return { ended, msPerThousand: ms / (ended / 1_000) };
}

/** Since the last time it was asked. */
async function slowest({ clients }: Side): Promise<ScaleFigures["longest"]> {
  const entries: Array<[number, number, number, string[]]> = [];
  for (const each of clients) {
    entries.push(...((await each.sendCommand(["SLOWLOG", "GET", "128"])) as unknown as typeof entries));
    await each.sendCommand(["SLOWLOG", "RESET"]);
  }
  const [most] = entries.toSorted((one, other) => other[2] - one[2]);
  const command = most?.[3].slice(0, 2).join(" ").replace(/\s+/g, " ").slice(0, 60) ?? "";
  return { microseconds: most?.[2] ?? 0, command };
}

async function admin(environment: Record<string, string>, args: readonly string[]): Promise<void> {
  const [stdin, stdout, stderr] = [new PassThrough().end(), new PassThrough(), new PassThrough()];
  for (const each of [stdout, stderr]) each.resume();
  const streams = { stdin, stdout, stderr } as unknown as Parameters<typeof runAdmin>[2];
  const exit = await runAdmin(args, () => environment, streams);
  if (exit !== 0) throw new Error(`admin ${args.join(" ")} ended with ${exit}`);
}

async function sum(numbers: ReadonlyArray<Promise<number>>): Promise<number> {
  return (await Promise.all(numbers)).reduce((all, each) => all + each, 0);
}

async function timed<Result>(run: () => Promise<Result>): Promise<{ result: Result; ms: number }> {
  const start = performance.now();
  const result = await run();
  return { result, ms: performance.now() - start };
}
