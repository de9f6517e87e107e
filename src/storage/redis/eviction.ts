/** Every record is somebody's sign-in: a Redis that throws records away when memory is short signs people out. */
import type { RedisClientType } from "@keyv/redis";
import type { Log } from "../../runtime/log.ts";

/** Says so at most once. */
export function evictionWarning(log: Log): (servers: readonly RedisClientType[]) => Promise<void> {
  let warned = false;
  return async (servers) => {
    for (const server of servers) {
      if (warned) return;
      // INFO and not CONFIG GET, which managed services forbid. Where both are forbidden there is nothing to say.
      const memory = await server.info("memory").catch(() => "");
      const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1] ?? "noeviction";
      if (warned || policy === "noeviction") continue;
      warned = true;
      log.warn(
        { reason: "redis_eviction", policy },
        "Redis may drop records when its memory is full, which signs people out: set its maxmemory-policy to noeviction",
      );
    }
  };
}
