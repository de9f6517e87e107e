/** Opaque access tokens of a trusted issuer, looked up there (RFC 7662). */
import { z } from "zod";
import { type AuthenticatedPost, createAuthenticatedPost } from "../identity/oidc/authenticated-post.ts";
import { type ForeignAccessToken, worthHere } from "./foreign-access-token.ts";
import type { TrustedIssuerAccess } from "./issuer-keys.ts";
import { outageOf } from "./issuer-keys.ts";
import { checkTimes, JwtRefused, SENDER_CONSTRAINED } from "./jwt.ts";
import type { AccessTokenIssuer, IntrospectionSettings } from "./trusted-issuer.ts";

const RETRY_SECONDS = 5;

/** RFC 7662 §2.2, as far as it is used. What is there has to have its right form. */
const Answer = z.discriminatedUnion("active", [
  z.looseObject({ active: z.literal(false) }),
  z.looseObject({
    active: z.literal(true),
    iss: z.string().optional(),
    aud: z.union([z.string(), z.array(z.string())]),
    exp: z.number(),
    nbf: z.number().optional(),
    cnf: z.unknown().optional(),
  }),
]);

export type IntrospectingIssuer = AccessTokenIssuer & { readonly introspection: IntrospectionSettings };

interface IntrospectionOptions extends Pick<TrustedIssuerAccess, "metadata"> {
  /** As this server's client there: {@link introspectionClient}. */
  post: AuthenticatedPost;
  resource: string;
  /** Seconds since the epoch. */
  now: number;
}

/** @throws InvalidValue if its credential cannot be read */
export function introspectionClient(
  { introspection: { client }, ...issuer }: IntrospectingIssuer,
  runtime: Parameters<typeof createAuthenticatedPost>[1],
): AuthenticatedPost {
  return createAuthenticatedPost({ ...issuer, client }, runtime);
}

/**
 * One request to the issuer.
 * @throws JwtRefused if it says that the token is not good here; UnavailableError if it does not answer sensibly
 */
export async function introspect(
  token: string,
  issuer: IntrospectingIssuer,
  { resource, now, ...access }: IntrospectionOptions,
): Promise<ForeignAccessToken> {
  const answer = await ask(token, issuer, access);
  if (!answer.active) throw new JwtRefused("token_inactive", "the issuer says that it is not active");
  const { iss = issuer.issuer, aud, exp, nbf, cnf } = answer;
  if (cnf !== undefined) throw new JwtRefused("jwt_sender_constrained", SENDER_CONSTRAINED);
  // Another issuer's token, for which this one is not believed.
  if (iss !== issuer.issuer) throw new JwtRefused("jwt_wrong_issuer", `its iss is not ${issuer.issuer}`);
  const audience = issuer.audience ?? resource;
  if (![aud].flat().includes(audience))
    throw new JwtRefused("jwt_wrong_audience", `its aud is not ${audience}`);
  checkTimes({ exp, nbf }, { now });
  return worthHere({ ...answer, iss, exp }, issuer);
}

/** Whether the issuer answered, and not what is needed: whoever has such a token could have it asked about without end. */
export function saysTooLittle(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause)
    if (each instanceof z.ZodError) return true;
  return false;
}

async function ask(
  token: string,
  issuer: IntrospectingIssuer,
  { metadata, post }: Pick<IntrospectionOptions, "metadata" | "post">,
): Promise<z.infer<typeof Answer>> {
  const { introspection } = issuer;
  const endpoint = introspection.endpoint ?? (await metadata()).introspectionEndpoint;
  try {
    if (endpoint === undefined)
      throw new Error("Its metadata name no https introspection_endpoint: configure it");
    const response = await post(endpoint, { token, token_type_hint: "access_token" });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`HTTP ${response.status} at ${endpoint}`);
    }
    return Answer.parse(await response.json());
  } catch (cause) {
    throw outageOf(issuer, "introspection_failed", cause, { retryAfterSeconds: RETRY_SECONDS });
  }
}
