/** All checks of a deployment, side by side. Each has a limit, and none can break another or end the doctor. */
import type { Environment } from "../../config/settings.ts";
import { registeredUrls } from "../../identity/oidc/registered-urls.ts";
import { generic } from "../../identity/profiles/generic.ts";
import { profileOf } from "../../identity/profiles/profiles.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { checkAuthorizationServers } from "./authorization-server.ts";
import { checkBackends } from "./backends.ts";
import { credentialSteps } from "./client-key.ts";
import { checkClients } from "./clients.ts";
import { type DeclaredFeatures, type Deployment, type Here, readParts } from "./deployment.ts";
import type { Finding, Found } from "./finding.ts";
import { checkIssuers } from "./issuer.ts";
import { within } from "./limit.ts";
import { checkAuditLog, checkFeatures, checkNode, checkPolicy, checkTracing } from "./program.ts";
import { checkProviders } from "./provider.ts";
import { checkAddress } from "./public-address.ts";
import { checkLatency, checkRedis } from "./redis.ts";
import { checkSettings, secretStrength } from "./settings.ts";

type Check = [section: string, name: string, check: (deployment: Deployment) => Promise<Found> | Found];

const CHECKS: readonly Check[] = [
  ["Program", "program.node", ({ node }) => checkNode(node)],
  ["Program", "program.tools", ({ config, features }) => checkFeatures(config, features)],
  ["Program", "program.policy", ({ config, features }) => checkPolicy(config, features)],
  ["Program", "program.audit_log", ({ config }) => checkAuditLog(config)],
  ["Program", "program.tracing", ({ config }) => checkTracing(config)],
  ["Settings", "settings.valid", ({ environment, ...parts }) => checkSettings(environment, parts)],
  ["Settings", "settings.secret_key", ({ secretKeys }) => secretStrength(secretKeys)],
  ["Identity provider", "provider", checkProviders],
  ["Issuers", "issuers", checkIssuers],
  ["Authorization servers of other APIs", "authorization_servers", checkAuthorizationServers],
  ["Backends", "backends", checkBackends],
  ["Redis", "redis", checkRedis],
  ["Public address", "address", checkAddress],
  ["Clients", "clients.documents", checkClients],
];
/** Once nothing else is asked: what this process is busy with would count as well. */
const QUIET_CHECKS: readonly Check[] = [["Redis", "redis.latency", checkLatency]];

/** Checks of one kind, under one heading. */
export interface Section {
  title: string;
  findings: readonly Finding[];
}

export interface Examination {
  sections: readonly Section[];
  /** For each identity provider; none if BASE_URL is wrong. */
  registrations: readonly Registration[];
}

/** What has to be entered at the identity provider, and where one finds it there. */
export interface Registration {
  /** Its name here, if there are several. */
  provider?: string;
  callbackUrl: string;
  backchannelLogoutUrl: string;
  /** What to do there, in order. */
  steps: readonly string[];
}

export async function examine(
  environment: Environment,
  features: DeclaredFeatures,
  here: Here,
): Promise<Examination> {
  const toolScopes = "broken" in features ? [] : Object.keys(features.scopes);
  const deployment: Deployment = { ...readParts(environment), ...here, environment, features, toolScopes };
  // What asks several times has limits inside; this one is for mistakes.
  const limitMs = 3 * here.patience.checkMs;
  const run = async ([title, name, check]: Check): Promise<Section> => ({
    title,
    findings: await within(limitMs, name, async () => check(deployment)),
  });
  const found = [...(await Promise.all(CHECKS.map(run))), ...(await Promise.all(QUIET_CHECKS.map(run)))];
  const sections = [...new Set(found.map(({ title }) => title))].map((title) => ({
    title,
    findings: found.filter((each) => each.title === title).flatMap(({ findings }) => findings),
  }));
  return {
    sections: sections.filter(({ findings }) => findings.length > 0),
    registrations: registrations(deployment),
  };
}

/** Also where no provider is known yet. */
function registrations({ baseUrl, identityProviders, toolScopes }: Deployment): Registration[] {
  if (baseUrl === undefined) return [];
  const listed = identityProviders ?? [undefined];
  return listed.map((upstream, index) => ({
    ...(upstream && listed.length > 1 && { provider: upstream.id }),
    ...registration(baseUrl, upstream, toolScopes, index === 0 ? undefined : upstream?.id),
  }));
}

/** @param provider in its callback URL, which the default provider's has not */
export function registration(
  baseUrl: string,
  upstream: IdentityProviderSettings | undefined,
  scopes: readonly string[],
  provider?: string,
): Registration {
  const { setup } = upstream === undefined ? generic : profileOf(upstream);
  const steps = [
    ...setup.registration(upstream, scopes),
    ...(upstream === undefined ? [] : credentialSteps(upstream)),
    `Only for tools that call other APIs in the user's name (getAccessTokenFor): ${setup.exchangeRemedy}`,
  ];
  return { ...registeredUrls(baseUrl, provider), steps };
}
