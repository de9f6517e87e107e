/** `doctor token` for the deployment that the environment describes: its Redis, read only, and its policy. */
import { pino } from "pino";
import type { Config } from "../../config/config.ts";
import { UnavailableError } from "../../oauth/errors.ts";
import { systemClock } from "../../runtime/runtime.ts";
import type { Offered } from "../../server/offered.ts";
import { memoryStore } from "../../storage/memory.ts";
import { redisStore } from "../../storage/redis/redis.ts";
import { untilReady } from "../../storage/until-ready.ts";
import type { Finding } from "./finding.ts";
import { askingServices } from "./program.ts";
import { explainToken, readPresented } from "./token.ts";
import { inStore } from "./token-refusals.ts";

/** @throws PolicyError, or Error if the declaration of a tool is wrong */
export async function explainTokenHere(
  pasted: string,
  config: Config,
  features: Offered,
): Promise<Finding[]> {
  const read = readPresented(pasted, config.identityProviders, systemClock());
  const { store } = config;
  const isOurs = read.presented !== undefined;
  if (isOurs && store.kind === "memory") {
    const unknown = inStore`? Could not tell whether it is good: with STORE=memory the sessions are in the server's own process
      → Look for the reason in that server's log, or use Redis.`;
    return [...read.findings, unknown];
  }
  // Another issuer's token is judged without a store.
  const inRedis = isOurs && store.kind === "redis";
  const records = readOnly(
    inRedis ? redisStore({ ...store, log: pino({ level: "silent" }) }) : memoryStore(),
  );
  try {
    await untilReady(records);
    return await askingServices(config, features, records, (services) => explainToken(read, services));
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    const unknown = inStore`? Could not tell whether it is good: Redis cannot be reached
      → Run npm run doctor: it says what is wrong with Redis. A server without its Redis answers 503, never 401.`;
    return [...read.findings, unknown];
  } finally {
    await records.close();
  }
}

const READS = ["get", "secondsLeft", "keys", "ping", "checkReady", "watch", "close", "members", "latest"];

/** Whatever is not known to read only is refused. */
function readOnly<Store extends object>(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member === "object" && member !== null) return readOnly(member);
      if (typeof member !== "function" || READS.includes(String(name))) return member;
      return () => Promise.reject(new Error("The doctor changes nothing."));
    },
  });
}
