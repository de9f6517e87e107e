/** Calls a tool many times over a few connections, and says what that cost the server. */
import autocannon from "autocannon";
import type { RedisMeter } from "./redis-meter.ts";

export type Generation = "2025-11-25" | "2026-07-28";

export interface Load {
  /** Requests. */
  amount: number;
  generation: Generation;
  /** Used in turn; none: no Authorization header. */
  accessTokens: readonly string[];
  /** Default: 8. */
  connections?: number;
  /** Default: `tools/call`. */
  method?: "tools/call" | "tools/list";
}

export interface Measured {
  /** Microseconds of processor time of the server, user and system. */
  cpuPerRequest: number;
  requestsPerSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  redisCommandsPerRequest: number;
  /** Answers that were not the expected one, and connections that failed. */
  errors: number;
}

const CONNECTIONS = 8;

/** Whatever can say how much processor time it has used, in microseconds. */
export interface Measurable {
  cpu(): Promise<number>;
}

/** @param idle commands that Redis gets every second anyway */
export async function load(
  subject: Measurable & { url: string },
  redis: RedisMeter,
  load: Load,
  idle = 0,
): Promise<Measured> {
  const part = load.method === "tools/list" ? "weather_1" : "light wind";
  const { amount, connections } = load;
  const requests = requestsOf(load);
  const sent = { url: subject.url, amount, requests, part, ...(connections && { connections }) };
  return await sendAll(subject, redis, sent, idle);
}

export interface Requests {
  url: string;
  /** How many are sent in all. */
  amount: number;
  /** In turn. */
  requests: readonly autocannon.Request[];
  /** Of each expected answer. */
  part: string;
  /** Default: 8. */
  connections?: number;
}

/** @param idle commands that Redis gets every second anyway */
export async function sendAll(
  subject: Measurable,
  redis: RedisMeter,
  { url, amount, requests, part, connections = CONNECTIONS }: Requests,
  idle = 0,
): Promise<Measured> {
  const startedAt = performance.now();
  const [usedBefore, commandsBefore] = [await subject.cpu(), await redis.commands()];
  let connection = 0;
  const result = await autocannon({
    url,
    connections,
    amount,
    requests: [...requests],
    // Each begins elsewhere, so that no two of them use one token at about the same time.
    setupClient(client) {
      const start = Math.floor((connection++ * requests.length) / connections);
      client.setRequests([...requests.slice(start), ...requests.slice(0, start)]);
    },
    verifyBody: (body) => String(body).includes(part),
  });
  const [usedAfter, commandsAfter] = [await subject.cpu(), await redis.commands()];
  const background = (idle * (performance.now() - startedAt)) / 1000;
  return {
    cpuPerRequest: (usedAfter - usedBefore) / amount,
    requestsPerSecond: amount / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
    redisCommandsPerRequest: (commandsAfter - commandsBefore - background) / amount,
    errors: result.errors + result.mismatches + result.non2xx,
  };
}

function requestsOf({ generation, accessTokens, method = "tools/call" }: Load): autocannon.Request[] {
  const isModern = generation === "2026-07-28";
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": generation,
    "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1.0.0" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const called = method === "tools/call" ? { name: "weather_1", arguments: { city: "Berlin" } } : {};
  const body = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method,
    params: { ...called, ...(isModern && { _meta }) },
  });
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": generation,
    ...(isModern && { "mcp-method": method }),
    ...(isModern && method === "tools/call" && { "mcp-name": "weather_1" }),
  };
  const authorizations = accessTokens.map((token) => ({ authorization: `Bearer ${token}` }));
  return (authorizations.length === 0 ? [{}] : authorizations).map((authorization) => ({
    method: "POST",
    body,
    headers: { ...headers, ...authorization },
  }));
}
