/** Trusted issuers: can their tokens be verified here, and by what name do they have to know this server? */
import { type IntrospectingIssuer, introspect, introspectionClient } from "../../issuers/introspection.ts";
import { fetchIssuerMetadata } from "../../issuers/issuer-keys.ts";
import { JwtRefused } from "../../issuers/jwt.ts";
import type { TrustedIssuer } from "../../issuers/trusted-issuer.ts";
import { causes } from "../../oauth/errors.ts";
import { type Deployment, ofEach } from "./deployment.ts";
import { checkOf, type Finding, type Found, notChecked } from "./finding.ts";
import { checkKeysAt } from "./keys.ts";

export async function checkIssuers(deployment: Deployment): Promise<Found> {
  const { issuers, baseUrl = "", resources } = deployment;
  if (issuers === undefined || (issuers.length > 0 && (baseUrl === "" || resources === undefined)))
    return notChecked("issuers", "the issuers in CONFIG_FILE, its resources and BASE_URL");
  const all = resources?.map(({ path }) => path) ?? [];
  const uris = (paths: readonly string[] = all) => paths.map((path) => `${baseUrl}${path}`);
  return ofEach(deployment, issuers, "issuers", async (issuer) => {
    const isIntrospecting = issuer.accept === "access-token" && issuer.introspection !== undefined;
    const asked = await Promise.all([
      checkKeys(issuer),
      isIntrospecting ? checkIntrospection(issuer as IntrospectingIssuer, deployment) : undefined,
    ]);
    return [asked, audience(issuer, baseUrl, uris)];
  });
}

async function checkKeys(issuer: TrustedIssuer): Promise<Finding> {
  const { algorithms, timeoutSeconds } = issuer;
  const check = "issuers.keys";
  const whose = `The keys of ${nameOf(issuer)}`;
  const fix =
    "Add the algorithm with which it signs to algorithms in CONFIG_FILE, or let it sign with one of these.";
  const asked = { check, whose, algorithms, fix, timeoutMs: timeoutSeconds * 1000 };
  try {
    return await checkKeysAt(issuer.jwksUri ?? (await fetchIssuerMetadata(issuer, {})).jwksUri, asked);
  } catch (error) {
    return checkOf(check)`✗ Tokens of ${nameOf(issuer)} cannot be verified: ${causes(error)}
      → Correct issuer in CONFIG_FILE, letter by letter as in the iss of its tokens, let this computer reach it, or say where its keys are (jwksUri).`;
  }
}

/** With a made-up token, which a good endpoint calls inactive. */
async function checkIntrospection(issuer: IntrospectingIssuer, deployment: Deployment): Promise<Finding> {
  const found = checkOf("issuers.introspection");
  const about = {
    metadata: () => fetchIssuerMetadata(issuer, {}),
    post: introspectionClient(issuer, deployment),
    resource: `${deployment.baseUrl}/mcp`,
    now: deployment.now(),
  };
  const why = await introspect("made-up-by-the-doctor", issuer, about).then(
    () => "it calls a made-up token good",
    (error) => (error instanceof JwtRefused && error.reason === "token_inactive" ? undefined : causes(error)),
  );
  if (why === undefined) return found`✓ Opaque tokens can be looked up at ${issuer.issuer} (introspection)`;
  return found`✗ Opaque tokens cannot be looked up at ${issuer.issuer} (introspection): ${why}
    → Correct introspection in CONFIG_FILE: its endpoint, and the id and the secret or key of a client that may ask there.`;
}

/**
 * What the administrator has to type there.
 * @param uris of the resources at these paths, or of all
 */
function audience(
  issuer: TrustedIssuer,
  baseUrl: string,
  uris: (paths?: readonly string[]) => readonly string[],
): Finding {
  const found = checkOf("issuers.audience");
  const name = nameOf(issuer);
  switch (issuer.accept) {
    case "access-token":
      return found`✓ In access tokens of ${name} aud has to be ${issuer.audience ?? uris(issuer.resources).join(" or ")}`;
    case "id-jag":
      return found`✓ At ${name} this server's issuer (aud) is ${baseUrl} and its resource ${uris().join(" or ")}`;
    case "workload":
      return found`✓ In assertions of ${name} aud has to be ${issuer.audience ?? `${baseUrl} or ${baseUrl}/token`}`;
  }
}

const nameOf = ({ issuer, accept }: TrustedIssuer): string => `${issuer} (${accept})`;
