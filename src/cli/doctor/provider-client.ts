/**
 * Does the provider accept our client id and secret, and does it let us refresh? Found out without a user: made-up codes and
 * tokens are presented, once with our secret and once with a made-up one. Only if the two are answered differently does the
 * answer say anything of the secret: some providers look at the code first, and some do not look at the secret of a client
 * that was registered without one.
 */
import { SPEAKS_OF_THE_USER } from "../../identity/oidc/answers.ts";
import { isBareRefusal } from "../../identity/oidc/token-endpoint-fetch.ts";
import type { Way } from "../../identity/oidc/ways-to-authenticate.ts";
import { profileOf } from "../../identity/profiles/profiles.ts";
import type { ProviderProfile } from "../../identity/profiles/provider-profile.ts";
import { parseJsonObject } from "../../oauth/json.ts";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";
import type { Asked, ProviderMetadata } from "./provider-discovery.ts";
import { type Proof, proofsOf } from "./provider-proofs.ts";

/** What is known of our client: `rejected` may be for its id or its secret. */
export interface Judged {
  verdict: "accepted" | "rejected" | "unknown";
  finding: Finding;
}

/** What a token endpoint answered to a grant that cannot be good. */
export interface Refusal {
  /** `none`: what says nothing of the client: an outage, throttling, a web page, or even a token. */
  kind: "client" | "grant_type" | "other" | "none";
  /** The error code; of `none`, what came. */
  said: string;
}

const credentials = checkOf("provider.credentials");
const judged =
  (verdict: Judged["verdict"]) =>
  (...words: Parameters<typeof credentials>): Judged => ({ verdict, finding: credentials(...words) });
const [accepted, rejected, unknown] = [judged("accepted"), judged("rejected"), judged("unknown")];

/**
 * In the way in which the server sends the secret; if it is refused, also in the others, to name the setting that helps.
 * `refresh` is what was answered to a made-up refresh token with our secret.
 */
export async function checkClient(
  asked: Asked & { callbackUrl: string },
  metadata: ProviderMetadata,
): Promise<Judged & { proof: Proof; refresh: Refusal }> {
  const [first, ...others] = await proofsOf(asked, metadata);
  const found = await tryProof(first, asked, metadata);
  if (found.verdict !== "rejected") return found;
  for (const proof of others) {
    const other = await tryProof(proof, asked, metadata);
    if (other.verdict !== "accepted") continue;
    if (proof.isOwn) return other;
    const finding = credentials`✗ The client secret is right, but the provider accepts it as ${proof.ours.method}, and this server sends it as ${first.ours.method}
      → Set OIDC_TOKEN_ENDPOINT_AUTH_METHOD=${proof.ours.method}.`;
    return { ...other, finding };
  }
  return found;
}

/** Two kinds of grant: what one leaves open, the other may tell. */
async function tryProof(
  proof: Proof,
  { upstream, callbackUrl, timeoutMs, randomBytes }: Asked & { callbackUrl: string },
  metadata: ProviderMetadata,
) {
  const random = () => randomBytes(32).toString("base64url");
  const grants = {
    authorization_code: () => ({ code: random(), redirect_uri: callbackUrl, code_verifier: random() }),
    refresh_token: () => ({ refresh_token: random() }),
  };
  const compare = async (grant_type: keyof typeof grants) => {
    const present = (way: Way) =>
      askTokenEndpoint(metadata, { grant_type, ...grants[grant_type]() }, way, timeoutMs);
    const [ours, madeUp] = await Promise.all([present(proof.ours), present(proof.madeUp)]);
    return { ours, judged: judge(ours, madeUp, grant_type, proof, profileOf(upstream)) };
  };
  const [byCode, byToken] = await Promise.all([compare("authorization_code"), compare("refresh_token")]);
  const isOpen = byCode.judged.verdict === "unknown" && byToken.judged.verdict !== "unknown";
  return { ...(isOpen ? byToken : byCode).judged, proof, refresh: byToken.ours };
}

/** With a grant that cannot be good. */
export async function askTokenEndpoint(
  { token_endpoint: endpoint }: ProviderMetadata,
  parameters: Record<string, string>,
  way: Way,
  timeoutMs: number,
): Promise<Refusal> {
  const [body, headers] = [new URLSearchParams(parameters), new Headers()];
  await way.add(body, headers);
  const question = { method: "POST", body, headers: Object.fromEntries(headers), timeoutMs };
  const answer = await ask(String(endpoint), question);
  const { status, text } = answer;
  const error = parseJsonObject(text)?.error;
  const code = typeof error === "string" ? error : isBareRefusal(status, text) ? "invalid_grant" : "";
  const isRefusal = status >= 400 && status < 500 && status !== 429 && (code !== "" || status === 401);
  if (!isRefusal) return { kind: "none", said: describeOther(answer) };
  return { kind: refusalKind(status, code), said: code || "HTTP 401" };
}

/**
 * RFC 6749 §5.2, and what providers make of it: Keycloak refuses a secret with `unauthorized_client` and 401, Auth0 with
 * `access_denied` and 401; both say 400 or 403 and `unauthorized_client` for a grant type that the client may not use, and
 * glewlwyd says that of a wrong secret.
 */
export function refusalKind(status: number, code: string): "client" | "grant_type" | "other" {
  if (SPEAKS_OF_THE_USER.has(code)) return "other";
  if (code === "invalid_client" || status === 401) return "client";
  return code === "unauthorized_client" || code === "unsupported_grant_type" ? "grant_type" : "other";
}

const KEY_REMEDY =
  "Check the client id, and that the application at the provider has the public key, certificate or federated credential that belongs to what this server uses (docs/settings.md).";
const TRY_IT =
  "Try a sign-in with an MCP client: the server's log says client_credentials_rejected if they are wrong.";

/** Pure. `madeUp` is the control: the same request with a secret or signature that is certainly wrong. */
export function judge(
  ours: Refusal,
  madeUp: Refusal,
  grantType: "authorization_code" | "refresh_token",
  { kind, ours: { method } }: { kind: Proof["kind"]; ours: Pick<Way, "method"> },
  { setup }: ProviderProfile,
): Judged {
  const remedy = kind === "secret" ? setup.credentialsRemedy : KEY_REMEDY;
  const tellsApart = madeUp.kind === "client" || (madeUp.kind === "grant_type" && ours.kind === "other");
  const isRefusedGrant = ours.kind === "grant_type" && grantType === "authorization_code";
  if (ours.kind === "none")
    return unknown`? Could not tell whether the client id and ${kind} are right: ${ours.said}
      → ${TRY_IT}`;
  if (ours.kind === "client")
    return rejected`✗ The provider does not accept the client id and ${kind} (${ours.said})
      → ${remedy}`;
  if (isRefusedGrant && tellsApart)
    return accepted`✗ The provider accepts the client ${kind}, but does not let this application use the authorization code grant (${ours.said})
      → ${setup.grantTypesRemedy}`;
  if (isRefusedGrant)
    return rejected`✗ The provider refuses this application (${ours.said}), whatever its ${kind}: its id, its ${kind} or its callback URL is wrong there, or it may not use the authorization code grant
      → ${remedy} ${setup.grantTypesRemedy}`;
  if (tellsApart)
    return accepted`✓ The provider accepts the client id and ${kind}, sent as ${method} (and refuses a made-up ${kind})`;
  const control = madeUp.kind === "none" ? "nothing clearer" : madeUp.said;
  return unknown`? Could not tell whether the client ${kind} is right: the provider answers ${ours.said}, and ${control} to a made-up ${kind}. It looks at the code first, or the application there has no ${kind === "secret" ? kind : "key"}
    → Make sure that the application is a confidential one (a web application, client authentication on). ${TRY_IT}`;
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
    return refresh`! The provider does not let this application use refresh tokens (${answered.said}): users sign in again whenever its access token ends
      → ${setup.refreshRemedy}`;
  if (answered.kind !== "other") return undefined; // findings about the client come first
  const how = asksForOfflineAccess
    ? "this server asks for them with the scope offline_access"
    : "this server does not ask for the scope offline_access, which some providers want to see";
  return refresh`✓ The provider takes refresh tokens from this application, as far as a made-up one shows; ${how}`;
}
