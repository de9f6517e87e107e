/** A trusted issuer: can its tokens be verified here, and by what name does it have to know this server? */
import { type IntrospectingIssuer, introspect } from "../../issuers/introspection.ts";
import { fetchIssuerMetadata } from "../../issuers/issuer-keys.ts";
import { JwtRefused } from "../../issuers/jwt.ts";
import type { TrustedIssuer } from "../../issuers/trusted-issuer.ts";
import { causes } from "../../oauth/errors.ts";
import { checkOf, type Finding } from "./finding.ts";
import { keysAt } from "./provider-keys.ts";

interface Here {
  baseUrl: string;
  /** Seconds since the epoch. */
  now: number;
}

export async function checkIssuer(issuer: TrustedIssuer, here: Here): Promise<Finding[]> {
  const found = await Promise.all([
    checkKeys(issuer),
    ...(isIntrospecting(issuer) ? [checkIntrospection(issuer, here)] : []),
  ]);
  return [...found, audience(issuer, here)];
}

async function checkKeys(issuer: TrustedIssuer): Promise<Finding> {
  const { ok, failure } = checkOf("issuers.keys");
  const { algorithms, timeoutSeconds } = issuer;
  const name = nameOf(issuer);
  const uri =
    issuer.jwksUri ?? (await fetchIssuerMetadata(issuer, {}).then(({ jwksUri }) => jwksUri, asError));
  if (uri instanceof Error)
    return failure(
      `Tokens of ${name} cannot be verified: ${causes(uri)}`,
      "Correct issuer in CONFIG_FILE, letter by letter as in the iss of its tokens, let this computer reach it, or say where its keys are (jwksUri).",
    );
  const keys = await keysAt(uri, algorithms, timeoutSeconds * 1000);
  if ("problem" in keys) return failure(`The keys of ${name} cannot be read: ${keys.problem}`, keys.fix);
  if (keys.usable.length > 0)
    return ok(`The keys of ${name} can be read: they verify ${keys.usable.join(", ")}`);
  return failure(
    `None of the ${keys.count} keys of ${name} at ${uri} can verify a signature by ${algorithms.join(", ")}`,
    "Add the algorithm with which it signs to algorithms in CONFIG_FILE, or let it sign with one of these.",
  );
}

/** With a made-up token, which a good endpoint calls inactive. */
async function checkIntrospection(issuer: IntrospectingIssuer, { baseUrl, now }: Here): Promise<Finding> {
  const { ok, failure } = checkOf("issuers.introspection");
  const metadata = () => fetchIssuerMetadata(issuer, {});
  const error = await introspect("made-up-by-the-doctor", issuer, {
    metadata,
    resource: `${baseUrl}/mcp`,
    now,
  }).catch(asError);
  if (error instanceof JwtRefused && error.reason === "token_inactive")
    return ok(`Opaque tokens can be looked up at ${issuer.issuer} (introspection)`);
  const why = error instanceof Error ? causes(error) : "it calls a made-up token good";
  return failure(
    `Opaque tokens cannot be looked up at ${issuer.issuer} (introspection): ${why}`,
    "Correct introspection in CONFIG_FILE: its endpoint, and the id and secret of a client that may ask there.",
  );
}

/** What the administrator has to type there. */
function audience(issuer: TrustedIssuer, { baseUrl }: Here): Finding {
  const { ok } = checkOf("issuers.audience");
  const name = nameOf(issuer);
  switch (issuer.accept) {
    case "access-token":
      return ok(`In access tokens of ${name} aud has to be ${issuer.audience ?? `${baseUrl}/mcp`}`);
    case "id-jag":
      return ok(`At ${name} this server's issuer (aud) is ${baseUrl} and its resource ${baseUrl}/mcp`);
    case "workload":
      return ok(
        `In assertions of ${name} aud has to be ${issuer.audience ?? `${baseUrl} or ${baseUrl}/token`}`,
      );
  }
}

function nameOf({ issuer, accept }: TrustedIssuer): string {
  return `${issuer} (${accept})`;
}

function isIntrospecting(issuer: TrustedIssuer): issuer is IntrospectingIssuer {
  return issuer.accept === "access-token" && issuer.introspection !== undefined;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
