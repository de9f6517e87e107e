/** The provider's discovery document: can it be read, is it the right one, and does it offer what is needed? */
import type { UpstreamConfig } from "../config-upstream.ts";
import { unaskedScopes } from "../upstream/asked-scopes.ts";
import { secretMethods } from "../upstream/client-authentication.ts";
import { type Answer, ask, describeOther, jsonObject } from "./ask.ts";
import { type Finding, failure, ok, unknown, warning } from "./finding.ts";

export type ProviderMetadata = Readonly<Record<string, unknown>>;

export interface FoundMetadata {
  metadata: ProviderMetadata;
  answer: Answer;
}

const CHECK = "provider.discovery";

export function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
}

export async function findMetadata(
  { issuer, preset }: UpstreamConfig,
  timeoutMs: number,
): Promise<FoundMetadata | { problem: Finding }> {
  const setting = preset === "auth0" ? "AUTH0_DOMAIN" : "OIDC_ISSUER";
  const url = discoveryUrl(issuer);
  const asked = await ask(url, { timeoutMs, headers: { accept: "application/json" } });
  if ("none" in asked) {
    const { says, fix } = asked.none;
    return {
      problem: failure(
        CHECK,
        `The identity provider cannot be reached: ${says}`,
        `${fix} It is named by ${setting}.`,
      ),
    };
  }
  const { answer } = asked;
  const metadata = answer.status === 200 ? jsonObject(answer.text) : undefined;
  if (metadata !== undefined && typeof metadata.issuer === "string") return { metadata, answer };
  const what = metadata === undefined ? describeOther(answer) : "a document that names no issuer";
  if (answer.status >= 500 || answer.status === 429)
    return {
      problem: failure(
        CHECK,
        `The identity provider answers ${what} at ${url}`,
        "Look at the provider's own status and log, and run the doctor again when it is well.",
      ),
    };
  return {
    problem: failure(
      CHECK,
      `There is no discovery document at ${url}: it answers ${what}`,
      issuerHint(issuer, setting),
    ),
  };
}

/** Where the issuers of well-known products are. */
function issuerHint(issuer: string, setting: string): string {
  const { hostname, pathname } = new URL(issuer);
  if (setting === "AUTH0_DOMAIN")
    return "Set AUTH0_DOMAIN to the Domain that the application's Settings show, such as tenant.eu.auth0.com.";
  if (/microsoftonline/.test(hostname))
    return "Set OIDC_ISSUER=https://login.microsoftonline.com/TENANT-ID/v2.0, with the tenant's id.";
  if (/okta/.test(hostname))
    return `Set OIDC_ISSUER to the issuer of the authorization server, such as https://${hostname}/oauth2/default, or https://${hostname} for the organization's own.`;
  if (/\/auth\/realms\//.test(pathname))
    return `Keycloak has no /auth in its path since version 17: try OIDC_ISSUER=${issuer.replace("/auth/realms/", "/realms/")}.`;
  return `Set OIDC_ISSUER to the issuer as the provider shows it: that URL followed by /.well-known/openid-configuration opens a JSON document in a browser. Keycloak's is https://HOST/realms/REALM, Authentik's https://HOST/application/o/APPLICATION/.`;
}

/** Byte for byte: tokens are refused for one character. */
export function checkIssuer({ issuer, preset }: UpstreamConfig, { metadata }: FoundMetadata): Finding {
  const check = "provider.issuer";
  const theirs = String(metadata.issuer);
  if (theirs === issuer) return ok(check, "Its issuer is byte for byte what the settings say");
  const fix =
    preset === "auth0"
      ? `Set AUTH0_DOMAIN=${theirs.replace(/^https:\/\//, "").replace(/\/$/, "")}.`
      : `Set OIDC_ISSUER=${theirs}`;
  const says = `Its issuer is ${theirs}, and the settings say ${issuer}: ${difference(issuer, theirs)}`;
  if (/\{tenantid\}/i.test(theirs))
    return failure(
      check,
      `Its issuer is ${theirs}: a pattern for many tenants, against which no token can be checked`,
      "Set OIDC_ISSUER=https://login.microsoftonline.com/TENANT-ID/v2.0, with the tenant's id in place of common or organizations.",
    );
  // Of a bare host, with and without the slash are one URL: sign-ins work, and somebody else's comparison will not.
  if (URL.canParse(theirs) && new URL(theirs).href === new URL(issuer).href)
    return warning(check, `${says} (here both mean the same, so sign-ins work)`, fix);
  return failure(check, says, fix);
}

/** What to look at. Pure. */
export function difference(ours: string, theirs: string): string {
  if (theirs === `${ours}/`) return "the slash at the end is missing";
  if (`${theirs}/` === ours) return "there is one slash too many at the end";
  if (theirs.toLowerCase() === ours.toLowerCase()) return "upper and lower case differ";
  if (!URL.canParse(theirs)) return "the provider's is no URL";
  const [one, other] = [new URL(ours), new URL(theirs)];
  if (one.protocol !== other.protocol) return "one says http and the other https";
  if (one.host !== other.host) return "the hosts differ";
  return "the paths differ";
}

/** What sign-ins here rely on. RFC 8414 §2 says what it means if a list is missing. */
export function checkCapabilities(upstream: UpstreamConfig, { metadata }: FoundMetadata): Finding[] {
  const { scopeSources } = upstream;
  const findings = [
    offers(metadata, {
      check: "provider.response_types",
      field: "response_types_supported",
      value: "code",
      usual: [],
      missing: failure,
      fix: "Use a provider, or a tenant of it, that offers the authorization code flow.",
    }),
    offers(metadata, {
      check: "provider.grant_types",
      field: "grant_types_supported",
      value: "authorization_code",
      usual: ["authorization_code", "implicit"],
      missing: failure,
      fix: "Switch on the authorization code grant at the provider.",
    }),
    offers(metadata, {
      check: "provider.refresh",
      field: "grant_types_supported",
      value: "refresh_token",
      usual: ["refresh_token"],
      missing: warning,
      fix: "Switch on refresh tokens at the provider: without them users sign in again whenever its access token ends.",
    }),
    offers(metadata, {
      check: "provider.pkce",
      field: "code_challenge_methods_supported",
      value: "S256",
      usual: undefined,
      missing: warning,
      fix: "Nothing to do if sign-ins work (Entra ID keeps silent and supports it). Otherwise switch on PKCE with S256 there.",
    }),
    clientAuthentication(upstream, metadata),
  ];
  const scopes = metadata.scopes_supported;
  if (Array.isArray(scopes) && !scopes.includes("offline_access") && scopeSources.kind !== "consent")
    findings.push(
      warning(
        "provider.offline_access",
        "It does not list the scope offline_access: without refresh tokens sessions end with its access token",
        "Switch on offline access at the provider; if it gives refresh tokens in another way, nothing is to be done.",
      ),
    );
  return findings;
}

/** RFC 8414 §2: nothing said means `client_secret_basic`; not everybody who says nothing means it. */
function clientAuthentication(upstream: UpstreamConfig, metadata: ProviderMetadata): Finding {
  const check = "provider.client_authentication";
  const field = "token_endpoint_auth_methods_supported";
  const listed = metadata[field];
  const [method, other] = secretMethods(upstream, metadata);
  if (!Array.isArray(listed))
    return ok(
      check,
      `It says nothing of ${field}: this server sends the secret as ${method}${other === undefined ? "" : `, or as ${other} if that is refused`}`,
    );
  if (listed.includes(method.replace("_plain", "")))
    return ok(check, `It offers ${method}, as which this server sends the secret (${field})`);
  return warning(
    check,
    `It does not offer ${method}, as which this server sends the secret (${field}: ${listed.join(", ").slice(0, 200)})`,
    upstream.tokenEndpointAuthMethod === "auto"
      ? "Let the application at the provider authenticate with a secret (client_secret_basic or client_secret_post)."
      : "Remove OIDC_TOKEN_ENDPOINT_AUTH_METHOD, or set it to what the provider offers.",
  );
}

interface Capability {
  check: string;
  field: string;
  value: string;
  /** What a document means that has no such list; undefined: nobody knows. */
  usual: readonly string[] | undefined;
  missing(check: string, says: string, fix: string): Finding;
  fix: string;
}

function offers(
  metadata: ProviderMetadata,
  { check, field, value, usual, missing, fix }: Capability,
): Finding {
  const listed = Array.isArray(metadata[field]) ? metadata[field] : usual;
  if (listed?.includes(value) && metadata[field] !== undefined)
    return ok(check, `It offers ${value} (${field})`);
  if (listed?.includes(value))
    return ok(check, `It says nothing of ${field}, which means that ${value} is offered`);
  if (listed === undefined)
    return unknown(check, `It does not say in ${field} whether it offers ${value}`, fix);
  return missing(check, `It does not offer ${value} (${field})`, fix);
}

/** Scopes that nobody is asked for, so that nobody is given them: decided as a sign-in does. */
export function checkScopes(
  upstream: UpstreamConfig,
  { metadata }: FoundMetadata,
  toolScopes: readonly string[],
): Finding[] {
  const check = "provider.scopes";
  const unasked = unaskedScopes(upstream, metadata, toolScopes);
  if (unasked.length === 0) return [];
  return [
    warning(
      check,
      `It does not list these scopes of the tools, and OIDC_SCOPES does not name them: ${unasked.join(" ")}. No sign-in asks for them`,
      "Add them to the API or the application at the provider; if it knows them without listing them, name them in OIDC_SCOPES; or say with SCOPES_FROM where scopes come from.",
    ),
  ];
}
