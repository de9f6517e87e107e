/** What is known of a backend: how it is reached, what it is told of the caller, and what its features need. */
import type { ApiRequest } from "../../oauth/other-api.ts";
import type { RequiredScopes } from "../../oauth/scope-requirement.ts";
import type { IdentityHeaders } from "../../resource/plain-identity.ts";

export interface BackendSettings {
  readonly reach: OneReach | MergedReach;
  readonly needs: BackendNeeds;
  /** Absent: its tools are whatever it says. */
  readonly pins?: PinSettings;
}

export interface PinSettings {
  /** The path of the file with the tools that were approved. */
  readonly file: string;
  readonly onDrift: OnDrift;
}

/** What becomes of a tool that is not as it was approved: it is neither shown nor called, or that is only said. */
export type OnDrift = "refuse" | "log";

/** Of one server. */
export type OneReach = HttpReach | StdioReach;

/** Several servers, each by the name that is before those of its tools. */
export interface MergedReach {
  readonly kind: "merged";
  readonly servers: ReadonlyMap<string, OneReach>;
  readonly maxAnswerBytes: number;
}

/** The servers at a resource, by their names in the log, metrics and traces. */
export function serversOf(path: string, reach: BackendSettings["reach"]): ReadonlyMap<string, OneReach> {
  if (reach.kind !== "merged") return new Map([[path, reach]]);
  return new Map([...reach.servers].map(([server, each]) => [nameInLog(path, server), each]));
}

export function nameInLog(path: string, server: string): string {
  return `${path}#${server}`;
}

/** Over Streamable HTTP. */
export interface HttpReach {
  readonly kind: "http";
  readonly url: string;
  /** Whom a signed identity is for: the backend, by the name that it knows itself by. Absent: it is told nothing of the caller. */
  readonly audience?: string;
  readonly identity: BackendIdentity;
  /** Where it says by its status whether it is up. Absent: /readyz does not ask it. */
  readonly health?: string;
  /** Sent with every request, such as the key of an API. */
  readonly headers: Readonly<Record<string, string>>;
  /** Until an answer begins: a backend that answers in JSON begins when its tool has ended. */
  readonly timeoutSeconds: number;
  /** Of a whole JSON answer, or of one event of a stream. */
  readonly maxAnswerBytes: number;
}

/** What a backend is told of a caller beside the signed identity. */
export interface BackendIdentity {
  readonly headers?: IdentityHeaders;
  /** For which API the user's token is exchanged: the backend gets the new one in `Authorization`. */
  readonly token?: ApiRequest;
}

/** A program that this server starts, over its stdin and stdout. */
export interface StdioReach {
  readonly kind: "stdio";
  /** The program and its arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  /** All that it has of an environment, beside the search path. */
  readonly environment: Readonly<Record<string, string>>;
  /** Whether everybody shares one process, or each principal has one of their own. */
  readonly processPer: "server" | "principal";
  /** Of all principals together. */
  readonly maxProcesses: number;
  /** Until an answer, or progress of a call. */
  readonly timeoutSeconds: number;
  /** Of one message. */
  readonly maxAnswerBytes: number;
}

/**
 * Which scopes a tool, a resource or a prompt needs, by its name (a resource: its URI), or a pattern with `*`. The name itself
 * counts first, then the longest pattern. What nothing names is refused, and not listed.
 */
export interface BackendNeeds {
  readonly tools: NeededScopes;
  readonly resources: NeededScopes;
  readonly prompts: NeededScopes;
}
export type NeededScopes = ReadonlyMap<string, RequiredScopes>;
