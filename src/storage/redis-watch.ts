/** Learns from Redis which records other replicas changed: one subscription, checked by a heartbeat. */
import { EventEmitter } from "node:events";
import { kindOf, type Watch } from "./store.ts";

/** What is needed of a client that only subscribes. */
export interface Subscriber {
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  subscribe(channel: string, listener: (message: string) => void): Promise<void>;
  ping(): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: () => void): unknown;
}

export interface RedisWatch {
  watch(kind: string, changed: (key: string) => void): Watch;
  close(): void;
}

const HEARTBEAT_MS = 1_000;

/** @param timeoutMs after which an unanswered heartbeat means that the connection is dead, however alive it looks */
export function createRedisWatch(subscriber: Subscriber, channel: string, timeoutMs: number): RedisWatch {
  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  let epoch: number | undefined;
  let epochs = 0;
  let pinging = false;

  const lost = (): void => {
    epoch = undefined;
  };
  subscriber.on("error", lost);
  subscriber.on("reconnecting", lost);

  async function subscribe(): Promise<void> {
    await subscriber.connect();
    await subscriber.subscribe(channel, (key) => changes.emit(kindOf(key), key));
  }

  /** What follows a subscription is told; only an answer on this very connection proves that there is one. */
  async function heartbeat(): Promise<void> {
    if (pinging || !subscriber.isReady) return;
    pinging = true;
    const silent = setTimeout(reconnect, timeoutMs);
    try {
      await subscriber.ping();
      epoch ??= ++epochs;
    } catch {
      lost();
    } finally {
      clearTimeout(silent);
      pinging = false;
    }
  }

  function reconnect(): void {
    lost();
    subscriber.destroy();
    subscriber.connect().catch(() => {});
  }

  // Settles only when the client is closed; its failures are events.
  subscribe().then(heartbeat, () => {});
  subscriber.on("ready", () => void heartbeat());
  const beat = setInterval(() => void heartbeat(), HEARTBEAT_MS).unref();

  return {
    watch(kind, changed) {
      changes.on(kind, changed);
      return {
        get epoch() {
          return epoch;
        },
        close: () => void changes.off(kind, changed),
      };
    },
    close() {
      clearInterval(beat);
      lost();
      subscriber.destroy();
    },
  };
}
