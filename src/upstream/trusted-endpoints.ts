/** Where a discovery document sends us and our users: only to places that nobody on the way can stand in for. Pure. */

/** What is used of the document. */
const ENDPOINTS = [
  "authorization_endpoint",
  "token_endpoint",
  "userinfo_endpoint",
  "jwks_uri",
  "revocation_endpoint",
  "end_session_endpoint",
] as const;

/**
 * OpenID Connect Discovery §3: every one of them is https. Keys that are fetched by http are whoever's on the network:
 * they would sign any user in. The configuration allows an issuer on http on this computer only, for development.
 * @throws Error that names the endpoint
 */
export function checkEndpoints(issuer: URL, metadata: Readonly<Record<string, unknown>>): void {
  const schemes = issuer.protocol === "http:" ? ["https:", "http:"] : ["https:"];
  for (const name of ENDPOINTS) {
    const url = metadata[name];
    if (url === undefined) continue;
    if (typeof url === "string" && URL.canParse(url) && schemes.includes(new URL(url).protocol)) continue;
    throw new Error(
      `The provider's discovery document names ${JSON.stringify(url)?.slice(0, 200)} as its ${name}: it has to be an https URL`,
    );
  }
}
