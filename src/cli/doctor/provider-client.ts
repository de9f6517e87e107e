/**
 * Does the provider accept our client id and secret, and does it let us refresh? Found out without a user: made-up codes and
 * tokens are presented, once with our secret and once with a made-up one. Only if the two are answered differently does the
 * answer say anything of the secret: some providers look at the code first, and some do not look at the secret of a client
 * that was registered without one.
 */

import { SPEAKS_OF_THE_USER } from "../../identity/oidc/answers.ts";
import { isBareRefusal } from "../../identity/oidc/token-endpoint-fetch.ts";
import type { Way } from "../../identity/oidc/ways-to-authenticate.ts";
import { type NamedProvider, profileOf } from "../../identity/profiles/profiles.ts";
import type { ProviderProfile } from "../../identity/profiles/provider-profile.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { parseJsonObject } from "../../oauth/json.ts";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";
import type { ProviderMetadata } from "./provider-discovery.ts";
import { type Proof, proofsOf } from "./provider-proofs.ts";

export interface ClientOptions {
  upstream: IdentityProviderSettings;
  callbackUrl: string;
  timeoutMs: number;
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
}

const credentials = checkOf("provider.credentials");

/** What is known of our client: `rejected` may be for its id or its secret. */
export type Verdict = "accepted" | "rejected" | "unknown";

export interface Judged {
  verdict: Verdict;
  finding: Finding;
}

/** What a token endpoint answered to a grant that cannot be good. */
export type Refusal =
  | { kind: "client" | "grant_type" | "other"; code: string }
  /** Nothing that says anything of the client: an outage, throttling, a web page, or even a token. */
  | { kind: "no_refusal"; says: string };

type GrantType = "authorization_code" | "refresh_token";

/**
 * In the way in which the server sends the secret; if it is refused, also in the others, to name the setting that helps.
 * `refresh` is what was answered to a made-up refresh token with our secret.
 */
export async function checkClient(
  metadata: ProviderMetadata,
  options: ClientOptions,
): Promise<Judged & { method: string; refresh: Refusal }> {
  const [first, ...others] = await proofsOf(options, metadata);
  const found = await tryProof(metadata, first as Proof, options); // there is one at least
  if (found.verdict !== "rejected") return found;
  for (const proof of others) {
    const other = await tryProof(metadata, proof, options);
    if (other.verdict !== "accepted") continue;
    if (proof.isOwn) return other;
    const finding = credentials`✗ The client secret is right, but the provider accepts it as ${proof.method}, and this server sends it as ${first?.method ?? ""}
      → Set OIDC_TOKEN_ENDPOINT_AUTH_METHOD=${proof.method}.`;
    return { ...other, finding };
  }
  return found;
}

/** Two kinds of grant: what one leaves open, the other may tell. */
async function tryProof(metadata: ProviderMetadata, proof: Proof, options: ClientOptions) {
  const compare = async (grantType: GrantType) => {
    const [ours, madeUp] = await Promise.all([
      present(metadata, grantType, proof.ours, options),
      present(metadata, grantType, proof.madeUp, options),
    ]);
    return { ours, judged: judge(ours, madeUp, { ...options.upstream, ...proof, grantType }) };
  };
  const [byCode, byToken] = await Promise.all([compare("authorization_code"), compare("refresh_token")]);
  const decides =
    byCode.judged.verdict === "unknown" && byToken.judged.verdict !== "unknown" ? byToken : byCode;
  return { ...decides.judged, method: proof.method, refresh: byToken.ours };
}

async function present(
  { token_endpoint: endpoint }: ProviderMetadata,
  grantType: GrantType,
  way: Way,
  { callbackUrl, timeoutMs, randomBytes }: ClientOptions,
): Promise<Refusal> {
  const madeUp = () => randomBytes(32).toString("base64url");
  const grant =
    grantType === "refresh_token"
      ? { refresh_token: madeUp() }
      : { code: madeUp(), redirect_uri: callbackUrl, code_verifier: madeUp() };
  const body = new URLSearchParams({ grant_type: grantType, ...grant });
  const headers = new Headers();
  await way.add(body, headers);
  const asked = await ask(String(endpoint), { method: "POST", body, headers, timeoutMs });
  const silent = (says: string): Refusal => ({ kind: "no_refusal", says });
  if ("kind" in asked) return silent(asked.says);
  const { status, text } = asked;
  if (status === 429) return silent("it answers that it is asked too often (HTTP 429)");
  const error = parseJsonObject(text)?.error;
  const code = typeof error === "string" ? error : isBareRefusal(status, text) ? "invalid_grant" : "";
  if (status < 400 || status >= 500 || (code === "" && status !== 401)) return silent(describeOther(asked));
  return { kind: refusalKind(status, code), code: code || "HTTP 401" };
}

/**
 * RFC 6749 §5.2, and what providers make of it: Keycloak refuses a secret with `unauthorized_client` and 401, Auth0 with
 * `access_denied` and 401; both say 400 or 403 and `unauthorized_client` for a grant type that the client may not use, and
 * glewlwyd says that of a wrong secret.
 */
export function refusalKind(status: number, code: string): "client" | "grant_type" | "other" {
  if (SPEAKS_OF_THE_USER.has(code)) return "other";
  if (code === "invalid_client" || status === 401) return "client";
  if (code === "unauthorized_client" || code === "unsupported_grant_type") return "grant_type";
  return "other";
}

interface Presented extends NamedProvider, Pick<Proof, "method" | "kind"> {
  grantType: GrantType;
}

const KEY_REMEDY =
  "Check the client id, and that the application at the provider has the public key, certificate or federated credential that belongs to what this server uses (docs/settings.md).";

/** Pure. `madeUp` is the control: the same request with a secret or signature that is certainly wrong. */
export function judge(ours: Refusal, madeUp: Refusal, way: Presented): Judged {
  const { kind } = way;
  const { setup } = profileOf(way);
  const remedy = kind === "secret" ? setup.credentialsRemedy : KEY_REMEDY;
  const tryIt =
    "Try a sign-in with an MCP client: the server's log says client_credentials_rejected if they are wrong.";
  const judged =
    (verdict: Verdict) =>
    (...words: Parameters<typeof credentials>): Judged => ({ verdict, finding: credentials(...words) });
  if (ours.kind === "no_refusal")
    return judged("unknown")`? Could not tell whether the client id and ${kind} are right: ${ours.says}
      → ${tryIt}`;
  const { code } = ours;
  if (ours.kind === "client")
    return judged("rejected")`✗ The provider does not accept the client id and ${kind} (${code})
      → ${remedy}`;
  const tellsApart = madeUp.kind === "client" || (madeUp.kind === "grant_type" && ours.kind === "other");
  const isRefusedGrant = ours.kind === "grant_type" && way.grantType === "authorization_code";
  if (isRefusedGrant && tellsApart)
    return judged(
      "accepted",
    )`✗ The provider accepts the client ${kind}, but does not let this application use the authorization code grant (${code})
      → ${setup.grantTypesRemedy}`;
  if (isRefusedGrant)
    return judged(
      "rejected",
    )`✗ The provider refuses this application (${code}), whatever its ${kind}: its id, its ${kind} or its callback URL is wrong there, or it may not use the authorization code grant
      → ${remedy} ${setup.grantTypesRemedy}`;
  if (tellsApart)
    return judged(
      "accepted",
    )`✓ The provider accepts the client id and ${kind}, sent as ${way.method} (and refuses a made-up ${kind})`;
  const control = madeUp.kind === "no_refusal" ? "nothing clearer" : madeUp.code;
  return judged(
    "unknown",
  )`? Could not tell whether the client ${kind} is right: the provider answers ${code}, and ${control} to a made-up ${kind}. It looks at the code first, or the application there has no ${kind === "secret" ? kind : "key"}
      → Make sure that the application is a confidential one (a web application, client authentication on). ${tryIt}`;
}

/**
 * A client may be accepted without the refresh grant. Tried rather than read from discovery: several providers do not list
 * it. Pure.
 */
export function judgeRefresh(
  answered: Refusal,
  asksForOfflineAccess: boolean,
  { setup }: ProviderProfile,
): Finding | undefined {
  const refresh = checkOf("provider.refresh");
  if (answered.kind === "grant_type")
    return refresh`! The provider does not let this application use refresh tokens (${answered.code}): users sign in again whenever its access token ends
      → ${setup.refreshRemedy}`;
  if (answered.kind !== "other") return undefined; // findings about the client come first
  const how = asksForOfflineAccess
    ? "this server asks for them with the scope offline_access"
    : "this server does not ask for the scope offline_access, which some providers want to see";
  return refresh`✓ The provider takes refresh tokens from this application, as far as a made-up one shows; ${how}`;
}
