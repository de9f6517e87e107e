/** Opaque access tokens of a trusted issuer, looked up there (RFC 7662). */
import { z } from "zod";
import { boundedFetch } from "../identity/oidc/bounded-response.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { type ForeignAccessToken, worthHere } from "./foreign-access-token.ts";
import type { TrustedIssuerAccess } from "./issuer-keys.ts";
import { outageOf } from "./issuer-keys.ts";
import { checkTimes, JwtRefused } from "./jwt.ts";
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
    cnf: z.never({ error: "the token is bound to a key of its sender" }).optional(),
  }),
]);

export type IntrospectingIssuer = AccessTokenIssuer & { readonly introspection: IntrospectionSettings };

interface IntrospectionOptions extends Pick<TrustedIssuerAccess, "metadata">, Pick<Runtime, "fetch"> {
  resource: string;
  /** Seconds since the epoch. */
  now: number;
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
  const { iss = issuer.issuer, aud, exp, nbf } = answer;
  // Another issuer's token, for which this one is not believed.
  if (iss !== issuer.issuer) throw new JwtRefused("jwt_wrong_issuer", `its iss is not ${issuer.issuer}`);
  const audience = issuer.audience ?? resource;
  if (![aud].flat().includes(audience))
    throw new JwtRefused("jwt_wrong_audience", `its aud is not ${audience}`);
  checkTimes({ exp, nbf }, { now });
  return worthHere({ ...answer, iss, exp }, issuer);
}

async function ask(
  token: string,
  issuer: IntrospectingIssuer,
  { metadata, ...runtime }: Pick<IntrospectionOptions, "metadata" | "fetch">,
): Promise<z.infer<typeof Answer>> {
  const { introspection, timeoutSeconds } = issuer;
  const endpoint = introspection.endpoint ?? (await metadata()).introspectionEndpoint;
  try {
    if (endpoint === undefined)
      throw new Error("Its metadata name no https introspection_endpoint: configure it");
    const options = {
      method: "POST",
      headers: { accept: "application/json", authorization: basic(introspection) },
      body: new URLSearchParams({ token, token_type_hint: "access_token" }),
      redirect: "manual" as const,
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    };
    const response = await boundedFetch(endpoint, options, runtime);
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`HTTP ${response.status} at ${endpoint}`);
    }
    return Answer.parse(await response.json());
  } catch (cause) {
    throw outageOf(issuer, "introspection_failed", cause, { retryAfterSeconds: RETRY_SECONDS });
  }
}

/** RFC 6749 §2.3.1: both halves form-encoded. */
function basic({ clientId, clientSecret }: IntrospectionSettings): string {
  const encode = (text: string) => new URLSearchParams({ "": text }).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString("base64")}`;
}
