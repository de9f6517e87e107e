/**
 * Identity Assertion JWT Authorization Grants (ID-JAG): a company's identity provider says that a person may use a client
 * here. draft-ietf-oauth-identity-assertion-authz-grant §4.4, MCP Enterprise-Managed Authorization §5.
 */
import type { JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { emailAnswer } from "../access/claims.ts";
import { Subject } from "../identity/oidc/subject.ts";
import { ClientId } from "../oauth/client-id.ts";
import { parseScope } from "../oauth/scope.ts";
import { JwtRefused, verifyJwt } from "./jwt.ts";
import type { IdJagIssuer } from "./trusted-issuer.ts";
import { withVouchedEmail } from "./vouched-email.ts";

/** The `typ` of its header: nothing else that an issuer signs can pass for one. */
export const ID_JAG_TYPE = "oauth-id-jag+jwt";

const MAX_LIFETIME_SECONDS = 300;

/** What a verified assertion says. */
export interface IdentityAssertion {
  readonly issuer: string;
  /** Of the person, by the claim that the operator chose. */
  readonly subject: string;
  readonly clientId: string;
  /** The resource that it is for; undefined: the issuer left that open. */
  readonly resource?: string;
  /** Undefined: the issuer left that open. */
  readonly scopes?: readonly string[];
  readonly claims: Readonly<Record<string, unknown>>;
  readonly id: AssertionId;
}

/** By which an assertion is used once. */
export interface AssertionId {
  readonly issuer: string;
  readonly jti: string;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
}

const Claims = z.object({
  sub: Subject,
  jti: z.string().min(1).max(512),
  client_id: ClientId,
  resource: z.union([z.string(), z.array(z.string()).length(1)]).optional(),
  scope: z.string().max(8_192).optional(),
  // To ignore one would drop a restriction (RFC 9396).
  authorization_details: z.never({ error: "it is not understood here" }).optional(),
});

/**
 * @param audience this server's issuer
 * @throws JwtRefused; UnavailableError while the issuer's keys are out of reach
 */
export async function verifyIdJag(
  assertion: string,
  issuer: IdJagIssuer,
  { keys, audience, now }: { keys: JWTVerifyGetKey; audience: string; now: number },
): Promise<IdentityAssertion> {
  const verified = await verifyJwt(assertion, {
    settings: issuer,
    keys,
    types: [ID_JAG_TYPE],
    // Some administrators type the slash, some do not.
    audiences: [audience, `${audience}/`],
    soleAudience: true,
    maxLifetimeSeconds: MAX_LIFETIME_SECONDS,
    now,
  });
  const claims = withVouchedEmail(verified, issuer);
  const parsed = Claims.safeParse(claims);
  if (!parsed.success) throw new JwtRefused("assertion_claims", inWords(parsed.error));
  const { jti, client_id: clientId, resource, scope } = parsed.data;
  const scopes = scope === undefined ? undefined : parseScope(scope);
  if (scope !== undefined && scopes === undefined)
    throw new JwtRefused("assertion_claims", "its scope is not a list of scopes");
  return {
    issuer: claims.iss,
    subject: subjectOf(claims, issuer),
    clientId,
    ...(resource !== undefined && { resource: [resource].flat()[0] ?? "" }),
    ...(scopes !== undefined && { scopes }),
    claims,
    id: { issuer: claims.iss, jti, expiresAt: claims.exp },
  };
}

function subjectOf(claims: Readonly<Record<string, unknown>>, { subject }: IdJagIssuer): string {
  if (subject === "sub") return String(claims.sub);
  const {
    names: [email],
    unknown,
  } = emailAnswer(claims);
  if (email === undefined || unknown !== undefined)
    throw new JwtRefused("assertion_claims", "its email is missing, or not verified");
  if (!Subject.safeParse(email).success)
    throw new JwtRefused("assertion_claims", "its email cannot be the name of a person here");
  return email;
}

export function inWords(error: z.ZodError): string {
  const [issue] = error.issues;
  return `its ${issue?.path.join(".")} is missing or wrong: ${issue?.message}`;
}
