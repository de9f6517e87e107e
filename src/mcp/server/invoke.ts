/** Runs a tool, resource or prompt for the caller, if they may, and writes down what became of it. */

import type { CallToolResult } from "@modelcontextprotocol/server";
import type { Denial } from "../../access/permissions.ts";
import { principalFields } from "../../access/principal.ts";
import type { Audit, AuditEvent } from "../../audit/audit.ts";
import { OAuthError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import {
  authenticationProblem,
  currentCaller,
  InsufficientAuthenticationError,
  InsufficientScopeError,
} from "../../resource/access-token-context.ts";
import type { Caller } from "../../resource/caller.ts";
import type { Log } from "../../runtime/log.ts";
import type { Feature, UsedFeature } from "../authoring/features.ts";
import { InputRequired } from "../authoring/input-required.ts";
import { ToolError } from "../authoring/request-context.ts";
import type { Ending, Lacking } from "./ending.ts";

export interface InvokeOptions {
  /** Puts the arguments of calls into the audit log. */
  auditArguments: boolean;
  log: Log;
  audit: Audit;
}

export type Invoked<Result> = { result: Result } | Failed;

export interface Failed {
  /** For whoever called. */
  failed: string;
  /** What the call turned out to need: with it it may be made again. */
  lacking?: Lacking;
}

/**
 * Runs a feature for the caller, and writes down that it did. What it throws becomes words that the model can read;
 * what was not meant for it goes to the log only.
 */
export async function invoke<Result extends object>(
  feature: Feature,
  args: unknown,
  signal: AbortSignal,
  running: { readonly ending: Ending | undefined } | undefined,
  { log, audit, auditArguments }: InvokeOptions,
  run: () => Promise<Result>,
): Promise<Invoked<Result>> {
  const caller = currentCaller("invoke");
  const about = {
    ...auditOf(feature, caller),
    ...(auditArguments && { arguments: args }),
  };
  let isNoted = false;
  const noteUse = (outcome: "ok" | "error", reason?: ReasonCode): void => {
    if (!isNoted) audit({ ...about, decision: "allow", outcome, reason });
    isNoted = true;
  };
  const refuse = (decision: Denial, words: string): Failed => {
    audit({ ...about, ...denial(decision) });
    return { failed: words };
  };
  const refuseAuthentication = ({ required, reason, message }: InsufficientAuthenticationError): Failed => {
    audit({ ...about, decision: "deny", reason });
    const mayTryAgain = reason === "insufficient_user_authentication";
    return { failed: message, ...(mayTryAgain && { lacking: { authentication: required } }) };
  };
  // What can be brought is asked for with HTTP 403 or 401 before this; this is the second check.
  const decision = caller.permissions.checkFeature(feature);
  if (!decision.allowed) return refuse(decision, denialInWords(decision, feature));
  const problem = feature.authentication && authenticationProblem(feature.authentication, "invoke");
  if (problem !== undefined) return refuseAuthentication(problem);
  // A client that goes away leaves a call that may never end.
  const noteGone = () => {
    // What was stopped is written down by who stopped it.
    if (running?.ending !== undefined) isNoted = true;
    else noteUse("error", "client_gone");
  };
  signal.addEventListener("abort", noteGone, { once: true });
  try {
    const result = await run();
    if (result instanceof InputRequired) {
      noteUse("ok", "input_required");
      return { result };
    }
    const outcome = (result as CallToolResult).isError === true ? "error" : "ok";
    noteUse(outcome);
    return { result };
  } catch (error) {
    if (error instanceof InsufficientScopeError) {
      const { decision } = error;
      const refused = refuse(decision, error.message);
      return decision.because === "scopes" ? { ...refused, lacking: { scopes: decision.missing } } : refused;
    }
    if (error instanceof InsufficientAuthenticationError) return refuseAuthentication(error);
    noteUse("error");
    // The client is gone: the error reaches nobody.
    if (signal.aborted) return { failed: "It was stopped." };
    // Ours are written for people as well: an outage, a sign-in that has ended.
    if (error instanceof ToolError || error instanceof OAuthError) return { failed: error.message };
    return failedUnexpectedly(feature, error, log);
  } finally {
    signal.removeEventListener("abort", noteGone);
  }
}

const FAILED = { tool: "tool_failed", resource: "resource_failed", prompt: "prompt_failed" } as const;

/** What nobody foresaw is for the log alone. */
export function failedUnexpectedly(feature: Feature, error: unknown, log: Log): { failed: string } {
  log.error(
    { reason: FAILED[feature.kind], [feature.kind]: feature.name, err: error },
    `A ${feature.kind} threw an unexpected error`,
  );
  return { failed: `${feature.name} failed unexpectedly. The server's log says why.` };
}

const EVENTS = { tool: "tool_call", resource: "resource_read", prompt: "prompt_get" } as const;

/** What the audit log says of a feature and whoever wants to use it. */
export function auditOf(feature: UsedFeature, { principal, client, grantId, resource, scopes }: Caller) {
  return {
    event: EVENTS[feature.kind],
    ...principalFields(principal),
    clientId: client.id,
    grantId,
    protectedResource: resource,
    scopes,
    [feature.kind]: feature.name.slice(0, MAX_NAME),
    ...(feature.entry !== undefined && { entry: feature.entry }),
  };
}

/** A backend's names, and URIs, are as long as a client likes. */
const MAX_NAME = 512;

export function denial(decision: Denial): Pick<AuditEvent, "decision" | "reason" | "rule" | "missing"> {
  return decision.because === "policy"
    ? { decision: "deny", reason: "denied_by_policy", rule: decision.rule.name }
    : { decision: "deny", reason: "insufficient_scope", missing: decision.missing };
}

/** For whoever called. */
export function denialInWords(decision: Denial, { kind, name }: UsedFeature): string {
  return decision.because === "policy"
    ? `This server's policy does not let you use the ${kind} ${name} with this application (rule "${decision.rule.name}"). Its operator can change that.`
    : `The ${kind} ${name} needs the scope ${decision.missing.join(" ")}, which was not granted.`;
}
