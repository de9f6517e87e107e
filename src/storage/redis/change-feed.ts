/** The change feed: which stored records other replicas changed. One subscription on every Redis server that has records. */
import { EventEmitter } from "node:events";
import type { RedisClientType } from "@keyv/redis";
import { UnavailableError } from "../../oauth/errors.ts";
import type { Log } from "../../runtime/log.ts";
import { type ChangeFeed, kindOf } from "../store.ts";
import { connectClient, destroyClient, withTimeLimit } from "./link.ts";
import { allCauses, type Refusal } from "./refusal.ts";
import { type Openable, supervise } from "./supervisor.ts";

export interface RedisWatch {
  watch(kind: string, changed: (key: string) => void): ChangeFeed;
  /** To be called when records may be written elsewhere from now on. */
  restart(): void;
  close(): void;
}

export interface WatchOptions {
  /** @throws while there are none */
  servers(): Promise<RedisClientType[]>;
  channel: string;
  commandTimeoutMs: number;
  refusalOf(error: unknown): Refusal | undefined;
  log: Log;
}

/** A subscription that does not answer in time counts as dead. */
export function createRedisWatch({ servers, refusalOf, log, ...options }: WatchOptions): RedisWatch {
  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  let epoch: number | undefined;
  let epochs = 0;
  let current: Openable | undefined;
  let hasWarned = false;

  const supervisor = supervise({
    async open(lose) {
      const watched = await servers();
      const subscription = await subscribe(watched, { ...options, lose, onChange });
      return {
        ...subscription,
        async check() {
          await subscription.check();
          // A cluster may have got another master meanwhile.
          const isWatched = (await servers()).every((server) => watched.includes(server));
          if (!isWatched) throw new Error("there are servers that are not watched");
        },
      };
    },
    onOpen(subscription) {
      current = subscription;
      epoch = ++epochs;
      hasWarned = false;
    },
    onLost(cause) {
      end();
      warnOf(cause);
    },
  });

  /** Nothing stops without it, but every request waits for Redis. */
  function warnOf(cause: unknown): void {
    // A subscription that is not open yet refuses nothing; the connection logs why it is not.
    const refusal = cause instanceof UnavailableError ? undefined : refusalOf(cause);
    if (refusal === undefined || hasWarned) return;
    hasWarned = true;
    log.warn(
      { reason: "redis_changes_not_heard", cause: allCauses(cause) },
      `Changes made by other replicas are not heard: Redis ${refusal.says}. ${refusal.fix}`,
    );
  }

  function onChange(key: string): void {
    changes.emit(kindOf(key), key);
  }

  function end(): void {
    epoch = undefined;
    current?.destroy();
  }

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
    restart() {
      end();
      supervisor.restart();
    },
    close() {
      supervisor.close();
      end();
    },
  };
}

interface SubscribeOptions extends Pick<WatchOptions, "channel" | "commandTimeoutMs"> {
  lose(cause: unknown): void;
  onChange(key: string): void;
}

/** On each server by itself: messages between the nodes of a cluster may be lost unnoticed. */
async function subscribe(
  servers: readonly RedisClientType[],
  { channel, commandTimeoutMs, lose, onChange }: SubscribeOptions,
): Promise<Openable> {
  const subscribers = servers.map((server) => server.duplicate());
  const subscription: Openable = {
    /** Only a reply on this very connection proves that the subscription exists. */
    async check() {
      const answers = subscribers.map((subscriber) => withTimeLimit(subscriber.ping(), commandTimeoutMs));
      await Promise.all(answers);
    },
    destroy: () => subscribers.forEach(destroyClient),
  };
  try {
    for (const subscriber of subscribers) {
      await connectClient(subscriber, { commandTimeoutMs, lose });
      await withTimeLimit(subscriber.subscribe(channel, onChange), commandTimeoutMs);
    }
    await subscription.check();
    return subscription;
  } catch (error) {
    subscription.destroy();
    throw error;
  }
}
