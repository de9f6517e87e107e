/** The audit log: one structured line for each decision, in the log and, if configured, in a file or stream of its own. */

import { accessSync, closeSync, constants, existsSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { causes } from "../oauth/errors.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { currentRequest } from "../runtime/current-request.ts";
import type { Log } from "../runtime/log.ts";

/** Where the audit log goes beside the log. */
export interface AuditConfig {
  /** A file's path, `stdout` or `stderr`. */
  destination?: string;
  /** Whether it has the arguments of calls. */
  arguments: boolean;
}

/** Tokens, codes and secrets have no field here; a tool's arguments only where the operator switched them on. */
export interface AuditEvent {
  event:
    | "sign_in"
    | "connections_sign_in"
    | "elevation"
    | "consent"
    | "token_issued"
    | "token_refreshed"
    | "token_refused"
    | "token_exchanged"
    | "access_refused"
    | "grant_ended"
    | "tool_call"
    | "resource_read"
    | "prompt_get"
    | "tool_definition"
    | "client_registered"
    | "client_changed"
    | "client_removed"
    | "policy_change";
  decision: "allow" | "deny" | "revoke";
  /** The same codes as in the log. */
  reason?: ReasonCode | undefined;
  subject?: string | undefined;
  /** Who acts: a `user`, a `client` that acts for itself, or a `workload`. */
  principalKind?: "user" | "client" | "workload" | undefined;
  /** Who names the subject. Absent: a client of this server. */
  issuer?: string | undefined;
  clientId?: string | undefined;
  clientName?: string | undefined;
  redirectUris?: readonly string[] | undefined;
  grantId?: string | undefined;
  /** The URI of the protected resource (RFC 9728) that a grant, token or call is for, or was refused at. */
  protectedResource?: string | undefined;
  tool?: string | undefined;
  /** The MCP resource that was read. */
  resource?: string | undefined;
  prompt?: string | undefined;
  /** Of a backend's feature: the name or pattern in `needs` that fits it. */
  entry?: string | undefined;
  /** Another API, for which a user's token was exchanged. */
  audience?: string | undefined;
  /** What was granted or used. */
  scopes?: readonly string[] | undefined;
  /** What was needed and not granted. */
  missing?: readonly string[] | undefined;
  /** What the client asked for. */
  asked?: readonly string[] | undefined;
  /** The rule of the policy that decided. */
  rule?: string | undefined;
  /** Of a call that was allowed: whether the tool itself succeeded. */
  outcome?: "ok" | "error" | undefined;
  /** How many calls of one batch this is about, if more than one. */
  calls?: number | undefined;
  arguments?: unknown;
  /** Of a policy file, to tell which one decided. */
  sha256?: string | undefined;
}

export type Audit = (event: AuditEvent) => void;

/** Gets every line as JSON. */
export type AuditStream = { write(line: string): unknown };

/**
 * @param stream beside the log, whatever the log's level is
 * @param listener receives every event, also refusals of tokens that name no grant
 */
export function createAudit(log: Log, stream?: AuditStream, listener?: Audit): Audit {
  return (told) => {
    listener?.(told);
    if (isAboutNobody(told)) return;
    const { event, ...fields } = told;
    const request = currentRequest();
    const during = request && {
      requestId: request.id,
      durationMs: Math.round(performance.now() - request.startedAt),
    };
    log.info({ audit: event, ...fields, ...during }, "audit");
    stream?.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...fields, ...during })}\n`);
  };
}

/**
 * Whether a refusal is of a token that names no grant. Anybody can make one up, as often as they like, and it concerns no user.
 * It is counted, and the log has the request with its reason; the audit log is written before an answer is sent, and strangers
 * must not be able to fill it.
 */
function isAboutNobody({ event, grantId, subject }: AuditEvent): boolean {
  const isRefusal = event === "access_refused" || event === "token_refused";
  return isRefusal && grantId === undefined && subject === undefined;
}

/**
 * Opens the audit log's own place.
 * @throws Error that says what to do if it cannot be written
 */
export function openAuditStream({ destination }: AuditConfig, log: Log): AuditStream | undefined {
  if (destination === undefined) return undefined;
  // Not process.stdout: when its reader is gone or its disk is full, that ends the process.
  if (destination === "stdout") return appendTo(1, log);
  if (destination === "stderr") return appendTo(2, log);
  return appendTo(openFile(destination), log);
}

// Does not wait for a reader, if it is a pipe.
const FLAGS = constants.O_APPEND | constants.O_WRONLY | constants.O_NONBLOCK;

function openFile(path: string): number {
  try {
    return openSync(path, FLAGS | constants.O_CREAT, 0o640);
  } catch (cause) {
    throw new Error(
      `AUDIT_LOG cannot be written: ${causes(cause)}. Name a file in a directory that exists.`,
      { cause },
    );
  }
}

/**
 * Whether {@link openAuditStream} would succeed. Nothing is created: whether it could be is what its folder says.
 * @throws Error
 */
export function checkAuditFile(path: string): void {
  if (existsSync(path)) closeSync(openSync(path, FLAGS));
  else accessSync(dirname(path), constants.W_OK);
}

/**
 * Synchronous, so that no decision is missing when the process is killed. What cannot be written, on a full disk, is in the log
 * alone; it is not kept in memory.
 */
function appendTo(file: number, log: Log): AuditStream {
  let failing = false;
  /** Whether the last line was written in part: the next one must not be lost with it. */
  let isTorn = false;
  return {
    write(line) {
      try {
        for (let rest = Buffer.from(isTorn ? `\n${line}` : line); rest.length > 0; ) {
          rest = rest.subarray(writeSync(file, rest));
          isTorn = rest.length > 0;
        }
        failing = false;
      } catch (error) {
        if (!failing)
          log.error({ reason: "audit_log_failed", err: error }, "The audit log cannot be written");
        failing = true;
      }
    },
  };
}
