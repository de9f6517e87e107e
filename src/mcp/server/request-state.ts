/**
 * The state of a call between its round trips, carried by the client (MCP 2026-07-28, `requestState`): encrypted,
 * and good only for the session, the feature and the arguments that it was made for.
 */
import { createHash } from "node:crypto";
import type { Runtime } from "../../runtime/runtime.ts";
import type { Sealer } from "../../storage/sealer.ts";
import type { Feature } from "../authoring/features.ts";

/** What a state belongs to. */
export interface CallIdentity {
  sessionKey: string;
  feature: Feature;
  args: unknown;
}

export interface RequestStates {
  seal(state: unknown, of: CallIdentity): string;
  /** Undefined if this server did not seal it, for this very call, within the last hour. */
  open(sealed: string, of: CallIdentity): { state: unknown } | undefined;
}

// People take time to answer, and clients wait for them.
const STATE_SECONDS = 3_600;

export function requestStates(sealer: Sealer, now: Runtime["now"]): RequestStates {
  return {
    seal: (state, of) => sealer.seal(JSON.stringify({ state, until: now() + STATE_SECONDS }), contextOf(of)),
    open(sealed, of) {
      const text = sealer.open(sealed, contextOf(of));
      if (text === undefined) return undefined;
      const { state, until } = JSON.parse(text) as { state: unknown; until: number };
      return now() < until ? { state } : undefined;
    },
  };
}

/** Binds the state to the call, so that nobody can have one thing confirmed and then do another. */
function contextOf({ sessionKey, feature, args }: CallIdentity): string {
  const digest = createHash("sha256")
    .update(JSON.stringify(args ?? {}, inOrder))
    .digest("base64url");
  return `request-state:${sessionKey}:${feature.kind}:${feature.name}:${digest}`;
}

/** The order of an object's members says nothing (RFC 8259 §4), and a client may change it. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
