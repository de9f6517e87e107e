/**
 * Does the provider accept our client id and secret? Found out without a user: made-up codes and tokens are presented,
 * once with our secret and once with a made-up one. Only if the two are answered differently does the answer say
 * anything of the secret: some providers look at the code first, and some do not look at the secret of a client that
 * was registered without one.
 */
import type { UpstreamConfig } from "../config-upstream.ts";
import {
  SECRET_METHODS,
  type SecretMethod,
  secretAs,
  secretMethods,
} from "../upstream/client-authentication.ts";
import { ask, describeOther, jsonObject } from "./ask.ts";
import { type Finding, failure, ok, unknown, warning } from "./finding.ts";
import type { ProviderMetadata } from "./provider-metadata.ts";

export interface CredentialsOptions {
  upstream: UpstreamConfig;
  callbackUrl: string;
  timeoutMs: number;
  randomBytes(size: number): Buffer;
}

const CHECK = "provider.credentials";

/** What a token endpoint answered to a grant that cannot be good. */
export type Refusal =
  | { kind: "client" | "grant_type" | "other"; code: string }
  /** Nothing that says anything of the client: an outage, throttling, a web page, or even a token. */
  | { kind: "no_refusal"; says: string };

export async function checkCredentials(
  metadata: ProviderMetadata,
  options: CredentialsOptions,
): Promise<Finding> {
  const { token_endpoint: endpoint } = metadata;
  if (typeof endpoint !== "string" || !URL.canParse(endpoint))
    return failure(
      CHECK,
      "Its discovery document names no token_endpoint",
      "Use an issuer that offers the authorization code flow.",
    );
  if (endpoint.startsWith("http:") && options.upstream.issuer.startsWith("https:"))
    return failure(
      CHECK,
      "Its discovery document names a token_endpoint without TLS: the client secret was not sent there",
      "Correct the provider's own public URL (behind a proxy: Keycloak's hostname and proxy settings), so that all its endpoints are https.",
    );
  const found = await tryWay(endpoint, secretMethods(options.upstream, metadata)[0], options);
  if (found.status !== "failure" || !found.isRejected) return found.finding;
  // Refused: is it the secret, or only the way in which it is sent?
  for (const method of SECRET_METHODS.filter((each) => each !== found.method)) {
    const other = await tryWay(endpoint, method, options);
    if (other.status === "ok") return inAnotherWay(found.method, method, options.upstream, metadata);
  }
  return found.finding;
}

interface Tried {
  method: SecretMethod;
  finding: Finding;
  status: Finding["status"];
  /** Whether it is the client that was not accepted. */
  isRejected: boolean;
}

async function tryWay(endpoint: string, method: SecretMethod, options: CredentialsOptions): Promise<Tried> {
  let undecided: Tried | undefined;
  for (const made of madeUpGrants(options)) {
    const tried = await compare(endpoint, method, made, options);
    if (tried.status !== "unknown") return tried;
    undecided ??= tried;
  }
  return undecided as Tried;
}

/** The server finds out by itself only where the provider says nothing of it. */
function inAnotherWay(
  refused: SecretMethod,
  accepted: SecretMethod,
  upstream: UpstreamConfig,
  metadata: ProviderMetadata,
): Finding {
  if (secretMethods(upstream, metadata)[1] === accepted)
    return ok(CHECK, `The provider accepts the client id and secret, as ${accepted}`);
  return failure(
    CHECK,
    `The client secret is right, but the provider accepts it as ${accepted}, and this server sends it as ${refused}`,
    `Set OIDC_TOKEN_ENDPOINT_AUTH_METHOD=${accepted}.`,
  );
}

/** Two kinds of grant: what one leaves open, the other may tell. */
function madeUpGrants({ callbackUrl, randomBytes }: CredentialsOptions): Array<Record<string, string>> {
  const madeUp = () => randomBytes(32).toString("base64url");
  return [
    { grant_type: "authorization_code", code: madeUp(), redirect_uri: callbackUrl, code_verifier: madeUp() },
    { grant_type: "refresh_token", refresh_token: madeUp() },
  ];
}

async function compare(
  endpoint: string,
  method: SecretMethod,
  grant: Record<string, string>,
  { upstream, timeoutMs, randomBytes }: CredentialsOptions,
): Promise<Tried> {
  const send = (secret: string) => {
    const { fields, headers } = secretAs(method, upstream.clientId, secret);
    return present(endpoint, { ...grant, ...fields }, headers, timeoutMs);
  };
  const [withOurs, withMadeUp] = await Promise.all([
    send(upstream.clientSecret),
    send(randomBytes(32).toString("base64url")),
  ]);
  const finding = judge(withOurs, withMadeUp, upstream.preset);
  return { method, finding, status: finding.status, isRejected: withOurs.kind === "client" };
}

async function present(
  endpoint: string,
  fields: Record<string, string>,
  headers: Record<string, string>,
  timeoutMs: number,
): Promise<Refusal> {
  const asked = await ask(endpoint, {
    method: "POST",
    body: new URLSearchParams(fields),
    headers: { accept: "application/json", ...headers },
    timeoutMs,
  });
  if ("none" in asked) return { kind: "no_refusal", says: asked.none.says };
  const { answer } = asked;
  const error = jsonObject(answer.text)?.error;
  const code = typeof error === "string" ? error : "";
  if (answer.status === 429)
    return { kind: "no_refusal", says: "it answers that it is asked too often (HTTP 429)" };
  if (answer.status < 400 || answer.status >= 500 || (code === "" && answer.status !== 401))
    return { kind: "no_refusal", says: `it answers ${describeOther(answer)}` };
  return { kind: refusalKind(answer.status, code), code: code || "HTTP 401" };
}

/**
 * RFC 6749 §5.2, and what providers make of it: Keycloak refuses a secret with `unauthorized_client` and 401, Auth0 with
 * `access_denied` and 401; both say 400 or 403 and `unauthorized_client` for a grant type that the client may not use.
 */
export function refusalKind(status: number, code: string): "client" | "grant_type" | "other" {
  if (code === "invalid_client" || status === 401) return "client";
  if (code === "unauthorized_client" || code === "unsupported_grant_type") return "grant_type";
  return "other";
}

/** Pure. `madeUp` is the control: the same request with a secret that is certainly wrong. */
export function judge(ours: Refusal, madeUp: Refusal, preset: UpstreamConfig["preset"]): Finding {
  const tryIt =
    "Try a sign-in with an MCP client: the server's log says client_credentials_rejected if they are wrong.";
  if (ours.kind === "no_refusal")
    return unknown(CHECK, `Could not tell whether the client id and secret are right: ${ours.says}`, tryIt);
  if (ours.kind === "client")
    return failure(
      CHECK,
      `The provider does not accept the client id and secret (${ours.code})`,
      preset === "auth0"
        ? "Copy Client ID and Client Secret from Auth0: Applications → your Regular Web Application → Settings, into AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET."
        : "Copy both anew from the application at the provider into OIDC_CLIENT_ID and OIDC_CLIENT_SECRET (the secret itself, not its id; it may have expired).",
    );
  if (madeUp.kind !== "client")
    return unknown(
      CHECK,
      `Could not tell whether the client secret is right: the provider answers ${ours.code}, and to a made-up secret as well${madeUp.kind === "no_refusal" ? " nothing clearer" : ""}. It looks at the code first, or the application there has no secret`,
      `Make sure that the application is a confidential one (a web application, client authentication on). ${tryIt}`,
    );
  if (ours.kind === "grant_type")
    return failure(
      CHECK,
      `The provider accepts the client secret, but does not let this application use the authorization code grant (${ours.code})`,
      preset === "auth0"
        ? "Auth0: the application's Settings → Advanced Settings → Grant Types: tick Authorization Code and Refresh Token."
        : "Allow the application the grant types authorization_code and refresh_token (Keycloak: Standard flow).",
    );
  return ok(CHECK, "The provider accepts the client id and secret (and refuses a made-up secret)");
}

/** Kept apart from the secret's own check: a client may be let in and not let renew. */
export async function checkRefreshGrant(
  metadata: ProviderMetadata,
  { upstream, timeoutMs, randomBytes }: CredentialsOptions,
): Promise<Finding[]> {
  const { clientId, clientSecret, preset } = upstream;
  const grant = { grant_type: "refresh_token", refresh_token: randomBytes(32).toString("base64url") };
  const ways = secretMethods(upstream, metadata).filter((method) => method !== undefined);
  let answered: Refusal | undefined;
  for (const method of ways) {
    const { fields, headers } = secretAs(method, clientId, clientSecret);
    answered = await present(String(metadata.token_endpoint), { ...grant, ...fields }, headers, timeoutMs);
    if (answered.kind !== "client") break;
  }
  if (answered?.kind !== "grant_type") return [];
  return [
    warning(
      "provider.refresh_allowed",
      `The provider does not let this application use refresh tokens (${answered.code})`,
      preset === "auth0"
        ? "Auth0: the application's Settings → Advanced Settings → Grant Types: tick Refresh Token; and in the API's Settings: Allow Offline Access."
        : "Allow the application the grant type refresh_token, or users sign in again whenever the provider's access token ends.",
    ),
  ];
}
