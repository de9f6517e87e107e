/** What is on its way to a backend: what the audit log says of each call, and how much of what is no call there may be. */
import type { ServerResponse } from "node:http";
import type { Audit } from "../../audit/audit.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import type { Caller } from "../../resource/caller.ts";
import type { UsedFeature } from "../authoring/features.ts";
import { auditOf } from "../server/invoke.ts";
import type { RunningCall } from "../server/running-calls.ts";
import { type Withheld, withheldInAudit } from "./withheld.ts";

/** By the ids of the messages that use them. */
export type UsedByMessages = ReadonlyArray<{ id: unknown; feature: UsedFeature }>;

/** Of a session, at once: notifications, answers, and ends of sessions. */
const MAX_UNWATCHED = 50;

/** What the audit log says of each call: that it was let through, and how it ended. */
export function usesOf(used: UsedByMessages, caller: Caller, audit: Audit) {
  const open = new Set(used);
  return {
    answered(id: unknown, outcome: "ok" | "error"): void {
      for (const use of open)
        if (use.id === id && open.delete(use))
          audit({ ...auditOf(use.feature, caller), decision: "allow", outcome });
    },
    withheld(error: Withheld): void {
      for (const { feature } of open) audit({ ...auditOf(feature, caller), ...withheldInAudit(error) });
    },
    /** A stream may end before its answer, which the client then fetches by GET: of that nothing more is known here. */
    over(running: RunningCall, reason: ReasonCode | undefined): void {
      // What was stopped is written down by who stopped it.
      if (running.ending !== undefined) return;
      for (const { feature } of open)
        audit({
          ...auditOf(feature, caller),
          decision: "allow",
          ...(reason !== undefined && { outcome: "error", reason }),
        });
    },
  };
}

/**
 * What asks for nothing is no call, and still holds a connection until the backend has taken it. It has places of its own: a
 * cancellation must get through where a session has as many calls as it may have.
 */
export function unwatchedMessages() {
  const bySession = new Map<string, number>();
  return {
    /** False if the session has too many of them on their way. */
    begin(sessionKey: string, res: ServerResponse): boolean {
      const taken = bySession.get(sessionKey) ?? 0;
      if (taken >= MAX_UNWATCHED) return false;
      bySession.set(sessionKey, taken + 1);
      res.once("close", () => {
        const left = (bySession.get(sessionKey) ?? 1) - 1;
        if (left > 0) bySession.set(sessionKey, left);
        else bySession.delete(sessionKey);
      });
      return true;
    },
  };
}
