/** What a request lacks that its client could bring, before anything is done with it; and what it is about. */

import type { ServerResponse } from "node:http";
import type { Denial } from "../../access/permissions.ts";
import type { Audit } from "../../audit/audit.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { strictest } from "../../oauth/required-authentication.ts";
import { union } from "../../oauth/scope.ts";
import {
  authenticationProblem,
  type InsufficientAuthenticationError,
} from "../../resource/access-token-context.ts";
import { insufficientAuthentication, insufficientScope } from "../../resource/bearer-authentication.ts";
import type { Caller } from "../../resource/caller.ts";
import type { Message, UsedFeature } from "../authoring/features.ts";
import { auditOf, denial } from "../server/invoke.ts";
import type { ChallengeOptions } from "../server/server.ts";
import type { Challenge } from "./refusals.ts";

/** What of a message cannot be served yet, and why. */
export interface Lacks {
  feature: UsedFeature;
  /** Scopes are missing. */
  denial?: Denial;
  problem?: InsufficientAuthenticationError;
}

/** Undefined if nothing is lacking that a client could bring: what the policy denies is an error in the result. */
export function lackingFor(addressed: readonly UsedFeature[], { permissions }: Caller): Lacks[] | undefined {
  const found = [...new Set(addressed)].flatMap((feature): Lacks[] => {
    const decision = permissions.checkFeature(feature);
    if (!decision.allowed && decision.because === "policy") return [];
    const problem = feature.authentication && authenticationProblem(feature.authentication, "mcp");
    const lacks = {
      ...(!decision.allowed && { denial: decision }),
      ...(problem?.reason === "insufficient_user_authentication" && { problem }),
    };
    return "denial" in lacks || "problem" in lacks ? [{ feature, ...lacks }] : [];
  });
  return found.length > 0 ? found : undefined;
}

/**
 * Answers what lacks a scope before any protocol handling, as HTTP 403, and what needs another sign-in, as 401: the same in
 * both generations, and for what the lists do not show as well; true if it did. The SDK is handed this same parsed body, so
 * it cannot see another one.
 *
 * The challenge names everything granted and everything that is needed: a client that asks for exactly its scope must not lose
 * what it had. A user who has to sign in again does so once for both (RFC 9470 §3).
 */
export async function isChallenged(
  lacking: readonly Lacks[],
  addressed: readonly UsedFeature[],
  res: ServerResponse,
  caller: Caller,
  { resource, audit, mayChallenge }: ChallengeOptions & Challenge & { audit: Audit },
): Promise<boolean> {
  const missing = [...new Set(lacking.flatMap(({ denial }) => (denial && missingOf(denial)) ?? []))];
  const problems = lacking.flatMap(({ problem }) => problem ?? []);
  const required = strictest(problems.map((problem) => problem.required));
  const asksToSignIn = problems.length > 0 && (await mayChallenge(caller, required));
  if (missing.length === 0 && !asksToSignIn) return false;
  for (const { feature, denial: denied, problem } of lacking) {
    // One line of the audit log for all the calls of a batch.
    const calls = addressed.filter((each) => each === feature).length;
    const why = denied ? denial(denied) : ({ decision: "deny", reason: problem?.reason } as const);
    audit({ ...auditOf(feature, caller), ...why, ...(calls > 1 && { calls }) });
  }
  const scopes = union(caller.scopes, missing);
  const [problem] = problems;
  if (asksToSignIn && problem !== undefined)
    insufficientAuthentication(res, resource, scopes, { required, message: problem.message });
  else insufficientScope(res, resource, scopes, missing);
  return true;
}

function missingOf(denial: Denial): readonly string[] {
  return denial.because === "scopes" ? denial.missing : [];
}

/** Of what has to be answered. */
export function requestIds(said: readonly Message[]): unknown[] {
  return said.flatMap(({ id, method }) =>
    id !== undefined && id !== null && method !== undefined ? [id] : [],
  );
}

export function messages(body: unknown): Message[] {
  const isMessage = (each: unknown) => typeof each === "object" && each !== null;
  return (Array.isArray(body) ? body : [body]).filter(isMessage) as Message[];
}

export function describeForLog(
  message: Message | undefined,
  feature: UsedFeature | undefined,
  res: ServerResponse,
): void {
  if (typeof message?.method === "string") requestFacts(res).mcpMethod = message.method.slice(0, 64);
  const { name } = message?.params ?? {};
  if (message?.method === "tools/call" && typeof name === "string")
    requestFacts(res).tool = name.slice(0, 128);
  if (feature !== undefined) requestFacts(res)[feature.kind] = feature.name.slice(0, 128);
}
