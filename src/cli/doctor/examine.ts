/** All checks of a deployment, side by side. Each has a limit, and none can break another or end the doctor. */

import type { Environment } from "../../config/settings.ts";
import { registeredUrls } from "../../identity/oidc/registered-urls.ts";
import type { Features } from "../../mcp/authoring/features.ts";
import { memoryStore } from "../../storage/memory.ts";
import { createSealer } from "../../storage/sealer.ts";
import { checkCertificate } from "./certificate.ts";
import { checkClientDocuments } from "./client-documents.ts";
import { type Finding, failure, type Section, unknown } from "./finding.ts";
import { within } from "./limit.ts";
import {
  checkAuditLog,
  checkFeatures,
  checkNode,
  checkPolicy,
  checkTracing,
  type NodeRelease,
} from "./program.ts";
import { checkProvider } from "./provider.ts";
import { checkProxyHeaders } from "./proxy-headers.ts";
import { checkAddress } from "./public-address.ts";
import { checkLatency, checkRedis } from "./redis.ts";
import { type Registration, registration } from "./registration.ts";
import { secretStrength } from "./secret-strength.ts";
import { checkSettings, type Parts, readParts } from "./settings.ts";

export interface Runtime {
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
  node: NodeRelease;
}

export interface Examination {
  sections: readonly Section[];
  /** Undefined if BASE_URL is wrong. */
  registration: Registration | undefined;
}

// Clients do not wait longer than this either.
const MOST_PATIENCE_MS = 5_000;
// Each check of its own has a shorter one; this is for mistakes.
const LIMIT_MS = 60_000;
const REDIS_LIMIT_MS = 20_000;
const DEFAULT_PORT = 3000;
const REDIS = "Redis";

/** @param features undefined if their declaration could not be read */
export async function examine(
  environment: Environment,
  features: Features | { broken: Error },
  around: Runtime,
): Promise<Examination> {
  const parts = readParts(environment);
  const { baseUrl, upstream } = parts;
  const scopes = "broken" in features ? [] : Object.keys(features.scopes);
  const checks: Array<[title: string, name: string, check: () => Promise<Finding[]>]> = [
    ["Program", "program", () => program(parts, features, around)],
    ["Settings", "settings", async () => settings(environment, parts)],
    ["Identity provider", "provider", () => provider(parts, scopes, around)],
    [REDIS, "redis", () => redis(parts, around)],
    ["Public address", "address", () => address(parts, around)],
    ["Clients", "clients", () => clients(parts)],
  ];
  const sections = await Promise.all(
    checks.map(async ([title, name, check]) => ({ title, findings: await within(LIMIT_MS, name, check) })),
  );
  const latency = await within(REDIS_LIMIT_MS, "redis.latency", () => redisLatency(parts));
  return {
    sections: sections.map((each) =>
      each.title === REDIS ? { ...each, findings: [...each.findings, ...latency] } : each,
    ),
    registration: baseUrl === undefined ? undefined : registration(baseUrl, upstream, scopes),
  };
}

async function program(
  { config }: Parts,
  features: Features | { broken: Error },
  around: Runtime,
): Promise<Finding[]> {
  const node = checkNode(around.node);
  if ("broken" in features) return [node, brokenFeatures(features.broken)];
  if (config === undefined) return [node];
  const records = memoryStore();
  void records.close(); // it holds nothing but a timer
  return [
    node,
    checkFeatures(config, features, records),
    ...checkPolicy(config, features),
    ...checkAuditLog(config),
    ...(await checkTracing(config)),
  ];
}

/** A mistake in the declaration of a tool. */
function brokenFeatures({ message }: Error): Finding {
  return failure(
    "program.tools",
    `The server would not start: its tools cannot be loaded: ${message}`,
    "Correct what it names: a setting of a tool, or the file: TOOLS_MODULE, --tools, or one below src/tools/.",
  );
}

function settings(environment: Environment, parts: Parts): Finding[] {
  return [...checkSettings(environment, parts), ...secretStrength(parts.secretKeys)];
}

async function provider(
  { upstream, baseUrl }: Parts,
  toolScopes: readonly string[],
  { nowMs, randomBytes }: Runtime,
): Promise<Finding[]> {
  if (upstream === undefined) return [notChecked("provider", "the settings of the identity provider")];
  return checkProvider({
    upstream,
    callbackUrl: baseUrl && registeredUrls(baseUrl).callbackUrl,
    toolScopes,
    timeoutMs: upstream.timeoutSeconds * 1000, // what the server itself waits
    nowMs,
    randomBytes,
  });
}

async function redis({ store, secretKeys }: Parts, { nowMs, randomBytes }: Runtime): Promise<Finding[]> {
  if (store === undefined) return [notChecked("redis", "the settings of Redis")];
  return within(REDIS_LIMIT_MS, "redis", () => checkRedis({ store, secretKeys, nowMs, randomBytes }));
}

async function redisLatency({ store }: Parts): Promise<Finding[]> {
  return store === undefined ? [] : checkLatency(store);
}

async function address(parts: Parts, { nowMs }: Runtime): Promise<Finding[]> {
  const { baseUrl, secretKeys, config } = parts;
  if (baseUrl === undefined) return [notChecked("address", "the setting BASE_URL")];
  const timeoutMs = MOST_PATIENCE_MS;
  const [{ findings, isOurs, saysCertificate }, certificate] = await Promise.all([
    checkAddress({ baseUrl, port: config?.port ?? DEFAULT_PORT, timeoutMs }),
    checkCertificate(baseUrl, nowMs(), timeoutMs),
  ]);
  // One cause, one finding: the one that knows the certificate's dates.
  if (saysCertificate && certificate.some(({ status }) => status === "failure")) return certificate;
  if (!isOurs || secretKeys.length === 0) return [...findings, ...certificate];
  const sealer = createSealer(secretKeys);
  const now = () => Math.floor(nowMs() / 1000);
  return [...findings, ...certificate, await checkProxyHeaders({ baseUrl, sealer, now, timeoutMs })];
}

async function clients({ config }: Parts): Promise<Finding[]> {
  return config === undefined
    ? [notChecked("clients.documents", "every setting")]
    : checkClientDocuments(config.clientIdMetadata);
}

function notChecked(name: string, what: string): Finding {
  return unknown(name, `Not checked: ${what} must be right first`, "Correct what is said under Settings.");
}
