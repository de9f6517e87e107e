/** Everything about the identity provider that can be found out without a user. */
import { pino } from "pino";
import type { UpstreamConfig } from "../config-upstream.ts";
import { causes } from "../oauth/errors.ts";
import { createOidcProvider } from "../upstream/oidc.ts";
import { aheadOfDateHeader, clockFinding } from "./clock.ts";
import { type Finding, failure, ok, unknown, warning } from "./finding.ts";
import { within } from "./limit.ts";
import { checkCredentials, checkRefreshGrant } from "./provider-credentials.ts";
import { checkKeys } from "./provider-keys.ts";
import {
  checkCapabilities,
  checkIssuer,
  checkScopes,
  discoveryUrl,
  type FoundMetadata,
  findMetadata,
} from "./provider-metadata.ts";
import { checkSignIn } from "./provider-sign-in.ts";

export interface ProviderOptions {
  upstream: UpstreamConfig;
  /** Undefined where BASE_URL is wrong: then there is none to ask about. */
  callbackUrl: string | undefined;
  toolScopes: readonly string[];
  timeoutMs: number;
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
}

// Each asks several times, one after the other.
const LIMIT_MS = 15_000;

export async function checkProvider(options: ProviderOptions): Promise<Finding[]> {
  const { upstream, timeoutMs, nowMs, toolScopes } = options;
  const found = await findMetadata(upstream, timeoutMs);
  if ("problem" in found) return [found.problem];
  const ahead = aheadOfDateHeader(found.answer.headers.get("date"), nowMs(), found.answer.tookMs);
  const issuer = checkIssuer(upstream, found);
  const [keys, exchanges] = await Promise.all([
    checkKeys(found.metadata, timeoutMs),
    // Our secret goes only to whom we mean.
    issuer.status === "failure" ? notAsked() : askProvider(options, found),
  ]);
  return [
    ok("provider.discovery", `Its discovery document can be read (${discoveryUrl(upstream.issuer)})`),
    issuer,
    ...checkCapabilities(upstream, found),
    keys,
    ...exchanges,
    ...checkScopes(upstream, found, toolScopes),
    ...withoutAudience(upstream),
    ...(ahead === undefined ? [] : [clockFinding("provider.clock", "the provider's", ahead)]),
  ];
}

function notAsked(): Finding[] {
  return [
    unknown(
      "provider.credentials",
      "Client id, secret and callback URL were not checked: they are not sent to a provider with another issuer",
      "Correct the issuer, then run the doctor again.",
    ),
  ];
}

async function askProvider(options: ProviderOptions, { metadata }: FoundMetadata): Promise<Finding[]> {
  const { upstream, callbackUrl, toolScopes, timeoutMs, randomBytes, nowMs } = options;
  const log = pino({ level: "silent" });
  const now = () => Math.floor(nowMs() / 1000);
  const provider = createOidcProvider(upstream, { now, randomBytes, log });
  const redirectUri = callbackUrl ?? "https://callback.invalid/auth/callback";
  const random = () => randomBytes(32).toString("base64url");
  let signInUrl: URL;
  try {
    const request = { state: random(), nonce: random(), codeVerifier: random(), scopes: toolScopes };
    signInUrl = await provider.authorizationUrl({ redirectUri, ...request });
  } catch (error) {
    return [
      failure(
        "provider.sign_in",
        `The server's own code refuses this provider: ${causes(error)}`,
        "Correct what it names in the provider's discovery document, or the issuer.",
      ),
    ];
  }
  const credentials = { upstream, callbackUrl: redirectUri, timeoutMs, randomBytes };
  const [client, refresh, signIn] = await Promise.all([
    within(LIMIT_MS, "provider.credentials", () => checkCredentials(metadata, credentials)),
    within(LIMIT_MS, "provider.refresh_allowed", () => checkRefreshGrant(metadata, credentials)),
    within(LIMIT_MS, "provider.redirect_uri", async () =>
      callbackUrl === undefined
        ? []
        : checkSignIn({
            signInUrl,
            callbackUrl,
            clientId: upstream.clientId,
            audience: upstream.audience,
            isAuth0: upstream.preset === "auth0",
            timeoutMs,
            randomBytes,
          }),
    ),
  ]);
  const isAccepted = client.every(({ status }) => status === "ok");
  return [...client, ...(isAccepted ? refresh : []), ...signIn];
}

/** By the settings for any provider, nobody is told that Auth0 needs one. */
function withoutAudience({ preset, issuer, audience }: UpstreamConfig): Finding[] {
  if (preset === "auth0" || audience !== undefined || !new URL(issuer).hostname.endsWith(".auth0.com"))
    return [];
  return [
    warning(
      "provider.audience",
      "OIDC_AUDIENCE is not set: Auth0 then issues opaque access tokens, which name no permissions",
      "Use the settings AUTH0_DOMAIN, AUTH0_CLIENT_ID, AUTH0_CLIENT_SECRET and AUTH0_AUDIENCE instead of OIDC_…",
    ),
  ];
}
