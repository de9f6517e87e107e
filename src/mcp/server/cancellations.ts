/**
 * A client of the 2025 generation that wants no answer any more says so in a request of its own, which may come to any
 * replica (`notifications/cancelled`). Ids of requests are counted from the same number in every session: only with the
 * session's id do they name a call.
 */
import { createHash } from "node:crypto";
import type { KeyValueStore } from "../../storage/store.ts";

/** What names a call, among all of this deployment. */
export interface CallName {
  sessionKey: string;
  sessionId: string;
  requestId: string | number;
}

export interface Cancellations {
  /** @returns how to stop listening */
  listen(call: CallName, cancelled: () => void): () => void;
  /** Publishes the cancellation to whichever replica the call is on; without effect if it has ended. */
  publish(call: CallName): Promise<void>;
}

const KIND = "cancellation";
// The record is empty; its write is published to all replicas.
const TOLD_SECONDS = 1;

export function createCancellations(records: Pick<KeyValueStore, "put" | "watch">): Cancellations {
  const listening = new Map<string, () => void>();
  records.watch(KIND, (key) => listening.get(key)?.());
  return {
    listen(call, cancelled) {
      const key = keyOf(call);
      listening.set(key, cancelled);
      return () => {
        if (listening.get(key) === cancelled) listening.delete(key);
      };
    },
    publish: (call) => records.put(keyOf(call), "", TOLD_SECONDS),
  };
}

function keyOf({ sessionKey, sessionId, requestId }: CallName): string {
  const digest = createHash("sha256")
    .update(JSON.stringify([sessionId, requestId]))
    .digest("base64url");
  return `${KIND}:${sessionKey}:${digest}`;
}

/** The request that a message cancels. */
export function cancelledRequest(message: unknown): CallName["requestId"] | undefined {
  const { method, params } = (message ?? {}) as { method?: unknown; params?: { requestId?: unknown } | null };
  if (method !== "notifications/cancelled") return undefined;
  const id = params?.requestId;
  return typeof id === "string" || typeof id === "number" ? id : undefined;
}
