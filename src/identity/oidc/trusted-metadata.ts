/**
 * Checks a discovery document: is it that of our provider, and are all of its endpoints https, so that nobody on the network can
 * impersonate them? Used by the server and the doctor. Pure.
 */
import { isPatternOfTenants } from "../../oauth/tenant-issuer.ts";
import { profileOfIssuer } from "../profiles/profiles.ts";

type Metadata = Readonly<Record<string, unknown>>;

/** What is used of the document. */
const ENDPOINTS = [
  "authorization_endpoint",
  "token_endpoint",
  "userinfo_endpoint",
  "jwks_uri",
  "revocation_endpoint",
  "end_session_endpoint",
  "pushed_authorization_request_endpoint",
] as const;

/** The endpoints that every sign-in needs. */
const NEEDED: readonly string[] = ["authorization_endpoint", "token_endpoint", "jwks_uri"];

/**
 * OpenID Connect Discovery §3: every one of them is https. Keys that are fetched by http are whoever's on the network:
 * they would sign any user in. The configuration allows an issuer on http on this computer only, for development.
 * @throws Error that names every endpoint at fault
 */
export function checkEndpoints(issuer: URL, metadata: Metadata): void {
  const schemes = issuer.protocol === "http:" ? ["https:", "http:"] : ["https:"];
  const isGood = (url: unknown) =>
    typeof url === "string" && URL.canParse(url) && schemes.includes(new URL(url).protocol);
  const missing = NEEDED.filter((name) => metadata[name] === undefined);
  if (missing.length > 0) throw new Error(`The provider's discovery document names no ${missing.join(", ")}`);
  const wrong = ENDPOINTS.filter((name) => metadata[name] !== undefined && !isGood(metadata[name]));
  if (wrong.length === 0) return;
  const named = wrong.map((name) => `${JSON.stringify(metadata[name]).slice(0, 200)} as its ${name}`);
  throw new Error(
    `The provider's discovery document names ${named.join(", ")}: ${wrong.length > 1 ? "each" : "it"} has to be an https URL`,
  );
}

/**
 * Why a document does not belong to the issuer that the settings name, or undefined. OpenID Connect Discovery §4.3 has the
 * two be the same; as URLs, so that a bare host may have its slash or not.
 * @param named `issuer` of the document
 */
export function issuerProblem(issuer: string, named: unknown): string | undefined {
  if (typeof named !== "string" || !URL.canParse(named)) return "the provider's is no URL";
  if (isPatternOfTenants(issuer))
    return issuer === named ? undefined : "the patterns for many tenants differ";
  // Entra's for `common`: openid-client would put in the tenant of whoever signs in, which lets every tenant in.
  if (/\{tenantid\}/i.test(named)) return "the provider's is a pattern for many tenants";
  const [ours, theirs] = [new URL(issuer), new URL(named)];
  if (ours.href === theirs.href) return undefined;
  if (profileOfIssuer(issuer).namesIssuerOtherwise) return undefined;
  return difference(issuer, named);
}

/** What to look at. */
function difference(ours: string, theirs: string): string {
  if (theirs === `${ours}/`) return "the slash at the end is missing";
  if (`${theirs}/` === ours) return "there is one slash too many at the end";
  if (theirs.toLowerCase() === ours.toLowerCase()) return "upper and lower case differ";
  const [one, other] = [new URL(ours), new URL(theirs)];
  if (one.protocol !== other.protocol) return "one says http and the other https";
  return one.host === other.host ? "the paths differ" : "the hosts differ";
}
