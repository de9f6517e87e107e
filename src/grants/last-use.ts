/**
 * When a grant was last used, for people who look at what they have allowed. Noted in memory and written down minutes
 * later, so that no request waits for it; what a process that is killed had not written yet is lost.
 */
import { causes } from "../oauth/errors.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore, Store } from "../storage/store.ts";
import type { Grant } from "./grant.ts";

export interface LastUse {
  /** Notes in memory that the grant was used now. */
  note(grantId: string): void;
  /** Seconds since the epoch, of those grants of which a use is known. */
  of(grantIds: readonly string[]): Promise<Map<string, number>>;
  /** The grant has ended. */
  forget(grantId: string): Promise<void>;
  /** Writes the noted uses to the store. Never fails: what could not be written stays noted. */
  flush(): Promise<void>;
}

interface Dependencies extends Pick<Runtime, "now" | "log"> {
  records: Pick<KeyValueStore, "get" | "replace" | "rewrite" | "delete">;
  /** Says which grants are alive, and for how long at most. */
  grants: Pick<Store<Grant>, "get">;
  flushSeconds?: number;
}

const FLUSH_SECONDS = 300;
// Few enough that requests are served in between.
const WRITES_AT_ONCE = 8;

export function createLastUse({
  records,
  grants,
  now,
  log,
  flushSeconds = FLUSH_SECONDS,
}: Dependencies): LastUse {
  const noted = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;

  /** Only an existing record is changed, with its time to live: an ended grant leaves nothing behind. */
  async function write(id: string, usedAt: number): Promise<void> {
    const key = keyOf(id);
    const known = await records.get(key);
    if (known === undefined) {
      const grant = await grants.get(id);
      const seconds = (grant?.expiresAt ?? 0) - now();
      if (seconds > 0) await records.replace(key, undefined, String(usedAt), seconds);
    } else if (Number(known) < usedAt) {
      // If another replica wrote in between, its time is as good.
      await records.rewrite(key, known, String(usedAt));
    }
  }

  function schedule(): void {
    timer ??= setTimeout(() => void flush(), flushSeconds * 1000).unref();
  }

  async function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const pending = new Map(noted);
    noted.clear();
    let problem: unknown;
    async function writeSome(): Promise<void> {
      for (const [id, usedAt] of pending) {
        if (problem !== undefined) return;
        pending.delete(id);
        try {
          await write(id, usedAt);
        } catch (error) {
          problem = error;
          pending.set(id, usedAt);
        }
      }
    }
    await Promise.all(Array.from({ length: WRITES_AT_ONCE }, writeSome));
    if (problem === undefined) return;
    for (const [id, usedAt] of pending) if (!noted.has(id)) noted.set(id, usedAt);
    log.warn(
      { reason: "last_use_not_written", grants: pending.size, cause: causes(problem) },
      "When sessions were last used is written down later",
    );
    schedule();
  }

  return {
    note(grantId) {
      noted.set(grantId, now());
      schedule();
    },
    async of(grantIds) {
      const written = await Promise.all(grantIds.map((id) => records.get(keyOf(id))));
      const latest = new Map<string, number>();
      grantIds.forEach((id, i) => {
        const usedAt = Math.max(Number(written[i] ?? 0), noted.get(id) ?? 0);
        if (usedAt > 0) latest.set(id, usedAt);
      });
      return latest;
    },
    async forget(grantId) {
      noted.delete(grantId);
      await records.delete(keyOf(grantId));
    },
    flush,
  };
}

function keyOf(grantId: string): string {
  return `used:${grantId}`;
}
