/** Everything about the identity provider that can be found out without a user. */
import { pino } from "pino";
import { scopesToAsk } from "../../identity/asked-scopes.ts";
import { createOidcProvider } from "../../identity/oidc/oidc.ts";
import { profileOf, profileOfIssuer } from "../../identity/profiles/profiles.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import { aheadOfDateHeader, clockFinding } from "./clock.ts";
import { checkOf, type Finding, type Found } from "./finding.ts";
import { checkKeysAt } from "./keys.ts";
import { within } from "./limit.ts";
import { type ClientOptions, checkClient, type Judged, judgeRefresh } from "./provider-client.ts";
import {
  checkCapabilities,
  checkDiscovery,
  checkScopes,
  type ProviderMetadata,
} from "./provider-discovery.ts";
import { askForSignIn, clientId, judgeSignIn, type Outcome, type SignInOptions } from "./provider-sign-in.ts";

export interface ProviderOptions {
  upstream: IdentityProviderSettings;
  /** Undefined where BASE_URL is wrong: then there is none to ask about. */
  callbackUrl: string | undefined;
  toolScopes: readonly string[];
  /** For one answer. */
  timeoutMs: number;
  /** For a check that asks several times, one after the other. */
  limitMs: number;
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
}

const KEYS = {
  check: "provider.keys",
  whose: "Its keys",
  algorithms: ASYMMETRIC_ALGORITHMS,
  fix: "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA, not with a shared secret (HS256).",
};

export async function checkProvider(options: ProviderOptions): Promise<Found> {
  const { upstream, timeoutMs, limitMs, nowMs } = options;
  const { findings, answer, metadata } = await checkDiscovery(upstream, timeoutMs);
  const ahead = answer && aheadOfDateHeader(answer.headers.get("date"), nowMs(), answer.tookMs);
  const clock = ahead === undefined ? undefined : clockFinding("provider.clock", "the provider's", ahead);
  if (metadata === undefined) return [findings, clock];
  const [keys, exchanges] = await Promise.all([
    within(limitMs, KEYS.check, () => checkKeysAt(String(metadata.jwks_uri), { ...KEYS, timeoutMs })),
    within(limitMs, "provider.credentials", () => askProvider(options, metadata)),
  ]);
  return [
    findings,
    checkCapabilities(metadata),
    keys,
    exchanges,
    checkScopes(upstream, metadata, options.toolScopes),
    withoutAudience(upstream),
    clock,
  ];
}

async function askProvider(options: ProviderOptions, metadata: ProviderMetadata): Promise<Found> {
  const { upstream, callbackUrl: redirectUri, toolScopes, timeoutMs, nowMs, randomBytes } = options;
  const callbackUrl = redirectUri ?? "https://callback.invalid/auth/callback";
  const asking = { upstream, callbackUrl, timeoutMs, nowMs, randomBytes };
  const asksForOfflineAccess = scopesToAsk(upstream, metadata, toolScopes).includes("offline_access");
  const signIn: SignInOptions = {
    ...asking,
    signInUrl: await signInUrl(options, callbackUrl),
    audience: upstream.audience,
    profile: profileOf(upstream),
  };
  const [client, answers] = await Promise.all([
    checkClient(metadata, asking),
    redirectUri === undefined ? undefined : askForSignIn(signIn),
  ]);
  return [
    clientFinding(client, answers?.outcome, asking),
    judgeRefresh(client.refresh, asksForOfflineAccess, signIn.profile),
    answers && judgeSignIn(answers, client.verdict, signIn),
  ];
}

/** The server's own. */
async function signInUrl(
  { upstream, toolScopes, nowMs, randomBytes }: ProviderOptions,
  redirectUri: string,
): Promise<URL> {
  const now = () => Math.floor(nowMs() / 1000);
  const provider = createOidcProvider(upstream, { now, randomBytes, log: pino({ level: "silent" }) });
  const random = () => randomBytes(32).toString("base64url");
  const request = { state: random(), nonce: random(), codeVerifier: random(), scopes: toolScopes };
  return provider.authorizationUrl({ redirectUri, ...request });
}

/** One cause, one finding: where sign-in shows which of the two is wrong, id or secret, it is said here. */
function clientFinding(
  { verdict, finding }: Judged,
  outcome: Outcome | undefined,
  { upstream, callbackUrl }: Pick<ClientOptions, "upstream" | "callbackUrl">,
): Finding {
  if (verdict !== "rejected" || finding.status === "ok" || outcome === undefined) return finding;
  const { says, fix } = finding;
  const found = checkOf(finding.check);
  const id = `the client id ${upstream.clientId}`;
  switch (clientId(outcome)) {
    case "unknown":
      return found`✗ The provider does not know ${id}
        → Copy the client id from the application at the provider into ${profileOf(upstream).setup.settings.clientId}; check that it is in this tenant or realm.`;
    case "known":
      return found`✗ ${says}; ${id} and the callback URL are known there
        → ${fix}`;
    case "refused":
      return found`✗ ${says}; ${id} is refused at sign-in as well
        → ${fix} Check that ${callbackUrl} is registered there, too.`;
    default:
      return finding;
  }
}

/** With the settings for any provider (`OIDC_…`), nothing else says that this one needs an audience. */
function withoutAudience({ issuer, audience }: IdentityProviderSettings): Finding | undefined {
  const lack = profileOfIssuer(issuer).setup.withoutAudience;
  if (audience !== undefined || lack === undefined) return undefined;
  return checkOf("provider.audience")`! ${lack.says}
    → ${lack.remedy}`;
}
