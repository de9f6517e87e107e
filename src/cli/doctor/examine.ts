/** All checks of a deployment, side by side. Each has a limit, and none can break another or end the doctor. */

import type { Environment } from "../../config/settings.ts";
import { registeredUrls } from "../../identity/oidc/registered-urls.ts";
import { generic } from "../../identity/profiles/generic.ts";
import { profileOf } from "../../identity/profiles/profiles.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { createSealer } from "../../storage/sealer.ts";
import { checkCertificate } from "./certificate.ts";
import { checkClientDocuments, checkClientKeys } from "./clients.ts";
import { checkOf, type Finding, type Found, findingsIn } from "./finding.ts";
import { checkIssuer } from "./issuer.ts";
import { within } from "./limit.ts";
import {
  checkAuditLog,
  checkFeatures,
  checkNode,
  checkPolicy,
  checkTracing,
  type DeclaredFeatures,
  type NodeRelease,
} from "./program.ts";
import { checkProvider } from "./provider.ts";
import { checkProxyHeaders } from "./proxy-headers.ts";
import { checkAddress } from "./public-address.ts";
import { checkLatency, checkRedis } from "./redis.ts";
import { secretStrength } from "./secret-strength.ts";
import { checkSettings, type Parts, readParts } from "./settings.ts";

export interface Runtime {
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
  node: NodeRelease;
  patience: Patience;
}

/** Milliseconds. */
export interface Patience {
  /** For one answer from the public address. The others have settings of their own. */
  answerMs: number;
  /** For a check that asks several times, one after the other. */
  checkMs: number;
}

/** Clients do not wait longer for an answer either. */
export const PATIENCE: Patience = { answerMs: 5_000, checkMs: 20_000 };

/** Checks of one kind, under one heading. */
export interface Section {
  title: string;
  findings: readonly Finding[];
}

export interface Examination {
  sections: readonly Section[];
  /** Undefined if BASE_URL is wrong. */
  registration: Registration | undefined;
}

/** What has to be entered at the identity provider, and where one finds it there. */
export interface Registration {
  callbackUrl: string;
  backchannelLogoutUrl: string;
  /** What to do there, in order. */
  steps: readonly string[];
}

/** What the checks look at. */
interface Deployment extends Parts, Runtime {
  environment: Environment;
  features: DeclaredFeatures;
  toolScopes: readonly string[];
}

type Check = (deployment: Deployment) => Promise<Found> | Found;

const CHECKS: ReadonlyArray<[section: string, name: string, check: Check]> = [
  ["Program", "program.node", ({ node }) => checkNode(node)],
  ["Program", "program.tools", ({ config, features }) => checkFeatures(config, features)],
  ["Program", "program.policy", ({ config, features }) => checkPolicy(config, features)],
  ["Program", "program.audit_log", ({ config }) => checkAuditLog(config)],
  ["Program", "program.tracing", ({ config }) => checkTracing(config)],
  ["Settings", "settings.valid", ({ environment, ...parts }) => checkSettings(environment, parts)],
  ["Settings", "settings.secret_key", ({ secretKeys }) => secretStrength(secretKeys)],
  ["Identity provider", "provider", provider],
  ["Issuers", "issuers", issuers],
  ["Redis", "redis", redis],
  ["Public address", "address", address],
  ["Clients", "clients.documents", clients],
];
/** Once nothing else is asked: what this process is busy with would count as well. */
const QUIET_CHECKS: typeof CHECKS = [["Redis", "redis.latency", ({ store }) => checkLatency(store)]];

export async function examine(
  environment: Environment,
  features: DeclaredFeatures,
  runtime: Runtime,
): Promise<Examination> {
  const parts = readParts(environment);
  const toolScopes = "broken" in features ? [] : Object.keys(features.scopes);
  const deployment = { ...parts, ...runtime, environment, features, toolScopes };
  // What asks several times has limits inside; this one is for mistakes.
  const limitMs = 3 * runtime.patience.checkMs;
  const run = ([title, name, check]: (typeof CHECKS)[number]) =>
    within(limitMs, name, async () => check(deployment)).then((findings) => ({ title, findings }));
  const found = [...(await Promise.all(CHECKS.map(run))), ...(await Promise.all(QUIET_CHECKS.map(run)))];
  const findingsOf = (section: string) =>
    found.filter(({ title }) => title === section).flatMap(({ findings }) => findings);
  const sections = [...new Set(CHECKS.map(([title]) => title))]
    .map((title) => ({ title, findings: findingsOf(title) }))
    .filter(({ findings }) => findings.length > 0);
  const { baseUrl, identityProviders: [first] = [] } = parts;
  return {
    sections,
    registration: baseUrl === undefined ? undefined : registration(baseUrl, first, toolScopes),
  };
}

export function registration(
  baseUrl: string,
  upstream: IdentityProviderSettings | undefined,
  scopes: readonly string[],
): Registration {
  const { setup } = upstream === undefined ? generic : profileOf(upstream);
  return { ...registeredUrls(baseUrl), steps: setup.registration(upstream, scopes) };
}

async function provider({ identityProviders, baseUrl, ...deployment }: Deployment): Promise<Found> {
  if (identityProviders === undefined) return notChecked("provider", "the settings of the identity provider");
  const checks = identityProviders.map((upstream, index) =>
    checkProvider({
      ...deployment,
      upstream,
      callbackUrl: baseUrl && registeredUrls(baseUrl, index === 0 ? undefined : upstream.id).callbackUrl,
      timeoutMs: upstream.timeoutSeconds * 1000, // what the server itself waits
      limitMs: deployment.patience.checkMs,
    }),
  );
  const found = await Promise.all(checks);
  if (found.length === 1) return found;
  return identityProviders.map(({ id }, index) => {
    const callback = baseUrl && callbackFinding(baseUrl, index === 0 ? undefined : id);
    const findings = findingsIn([callback || undefined, found[index]]);
    return findings.map((finding) => ({ ...finding, says: `“${id}”: ${finding.says}` }));
  });
}

/** Each has its own, and the list of what to register at the provider is for one. */
function callbackFinding(baseUrl: string, provider: string | undefined): Finding {
  const { callbackUrl } = registeredUrls(baseUrl, provider);
  return checkOf("provider.callback_url")`✓ Its callback URL here is ${callbackUrl}`;
}

async function issuers({ issuers, baseUrl = "", nowMs, patience }: Deployment): Promise<Found> {
  if (issuers === undefined || (issuers.length > 0 && baseUrl === ""))
    return notChecked("issuers", "the issuers in CONFIG_FILE, and BASE_URL,");
  const here = { baseUrl, now: Math.floor(nowMs() / 1000) };
  return Promise.all(
    issuers.map((issuer) => within(patience.checkMs, "issuers", () => checkIssuer(issuer, here))),
  );
}

async function redis({ store, patience, ...deployment }: Deployment): Promise<Found> {
  if (store === undefined) return notChecked("redis", "the settings of Redis");
  return within(patience.checkMs, "redis", () => checkRedis({ ...deployment, store }));
}

const DEFAULT_PORT = 3000;

async function address({ baseUrl, secretKeys, config, nowMs, patience }: Deployment): Promise<Found> {
  if (baseUrl === undefined) return notChecked("address", "the setting BASE_URL");
  const timeoutMs = patience.answerMs;
  const [{ findings, isOurs, saysCertificate }, certificate] = await Promise.all([
    checkAddress({ baseUrl, port: config?.port ?? DEFAULT_PORT, timeoutMs }),
    checkCertificate(baseUrl, nowMs(), timeoutMs),
  ]);
  // One cause, one finding: the one that knows the certificate's dates.
  if (saysCertificate && certificate?.status === "failure") return certificate;
  if (!isOurs || secretKeys.length === 0) return [findings, certificate];
  const sealer = createSealer(secretKeys);
  const now = () => Math.floor(nowMs() / 1000);
  return [findings, certificate, await checkProxyHeaders({ baseUrl, sealer, now, timeoutMs })];
}

async function clients({ config, patience }: Deployment): Promise<Found> {
  if (config === undefined) return notChecked("clients.documents", "every setting");
  const { clientIdMetadata, clients } = config;
  return Promise.all([checkClientDocuments(clientIdMetadata), checkClientKeys(clients, patience.answerMs)]);
}

function notChecked(name: string, what: string): Finding {
  return checkOf(name)`? Not checked: ${what} must be right first
    → Correct what is said under Settings.`;
}
