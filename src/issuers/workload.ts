/**
 * Assertions of workloads: a platform says which program is running. RFC 7523 §2.1 without client authentication, MCP
 * Workload Identity Federation.
 */
import type { JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { sha256 } from "../oauth/sha256.ts";
import { fits } from "./claim-rule.ts";
import { type AssertionId, inWords } from "./id-jag.ts";
import { JwtRefused, verifyJwt } from "./jwt.ts";
import type { WorkloadIssuer, WorkloadRule } from "./trusted-issuer.ts";

/** The kubelet's are good for an hour; GitHub's were seen with six. Longer ones would have to be remembered for as long. */
const MAX_LIFETIME_SECONDS = 21_600;

export interface WorkloadAssertion {
  readonly issuer: string;
  readonly subject: string;
  readonly rule: WorkloadRule;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly id: AssertionId;
}

const Claims = z.object({
  /** Longer than a person's: a SPIFFE id may have 2,048 characters. */
  sub: z.string().regex(/^[\x20-\x7e]{1,2048}$/, "is not 1 to 2,048 printable ASCII characters"),
  // Kubernetes sends one since 1.32; SPIFFE does not have to.
  jti: z.string().min(1).max(512).optional(),
  authorization_details: z.never({ error: "it is not understood here" }).optional(),
});

/**
 * @param audiences this server's issuer and its token endpoint
 * @throws JwtRefused; UnavailableError while the issuer's keys are out of reach
 */
export async function verifyWorkloadAssertion(
  assertion: string,
  issuer: WorkloadIssuer,
  { keys, audiences, now }: { keys: JWTVerifyGetKey; audiences: readonly string[]; now: number },
): Promise<WorkloadAssertion> {
  const claims = await verifyJwt(assertion, {
    settings: issuer,
    keys,
    // What platforms send. An access token (`at+jwt`) or an ID-JAG of the same issuer is none.
    types: ["jwt", undefined],
    audiences: issuer.audience === undefined ? audiences : [issuer.audience],
    soleAudience: true,
    maxLifetimeSeconds: MAX_LIFETIME_SECONDS,
    now,
  });
  const parsed = Claims.safeParse(claims);
  if (!parsed.success) throw new JwtRefused("assertion_claims", inWords(parsed.error));
  const rule = issuer.rules.find((each) => each.claims.every((claim) => fits(claim, claims)));
  if (rule === undefined)
    throw new JwtRefused("workload_not_named", "no rule of this issuer names the workload");
  // Signatures with random bits differ for the same claims: the part that is signed is what is used up.
  const jti = parsed.data.jti ?? sha256(assertion.slice(0, assertion.lastIndexOf(".")));
  return {
    issuer: claims.iss,
    subject: parsed.data.sub,
    rule,
    claims,
    id: { issuer: claims.iss, jti, expiresAt: claims.exp },
  };
}
