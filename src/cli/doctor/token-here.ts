/** `doctor token` for the deployment that the environment describes: its Redis, read only, and its policy. */
import { pino } from "pino";
import type { Config } from "../../config/config.ts";
import type { Features } from "../../mcp/authoring/features.ts";
import { UnavailableError } from "../../oauth/errors.ts";
import { systemClock } from "../../runtime/runtime.ts";
import { memoryStore } from "../../storage/memory.ts";
import { redisStore } from "../../storage/redis/redis.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { untilReady } from "../../storage/until-ready.ts";
import { checkOf, type Finding } from "./finding.ts";
import { silentServices } from "./program.ts";
import { explainToken, readPresented } from "./token.ts";

/** @throws PolicyError, or Error if the declaration of a tool is wrong */
export async function explainTokenHere(
  pasted: string,
  config: Config,
  features: Features,
): Promise<Finding[]> {
  const presented = readPresented(pasted, config.identityProviders, systemClock());
  if (presented.kind === undefined) {
    const services = silentServices(config, features, readOnly(memoryStore()));
    return explainToken(presented, { ...services, now: services.runtime.now });
  }
  if (config.store.kind === "memory")
    return [
      ...presented.findings,
      checkOf("token.grant").unknown(
        "Could not tell whether it is good: with STORE=memory the sessions are in the server's own process",
        "Look for the reason in that server's log, or use Redis.",
      ),
    ];
  const records = readOnly(redisStore({ ...config.store, log: pino({ level: "silent" }) }));
  try {
    await untilReady(records);
    const services = silentServices(config, features, records);
    return await explainToken(presented, { ...services, now: services.runtime.now });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return [
      ...presented.findings,
      checkOf("token.grant").unknown(
        "Could not tell whether it is good: Redis cannot be reached",
        "Run npm run doctor: it says what is wrong with Redis. A server without its Redis answers 503, never 401.",
      ),
    ];
  } finally {
    await records.close();
  }
}

/** A read-only key-value store: every write throws. */
function readOnly({
  get,
  secondsLeft,
  keys,
  ping,
  checkReady,
  watch,
  close,
  indexes,
}: KeyValueStore): KeyValueStore {
  const refuse = async (): Promise<never> => {
    throw new Error("The doctor changes nothing.");
  };
  return {
    get,
    secondsLeft,
    keys,
    ping,
    checkReady,
    watch,
    close,
    indexes: {
      members: indexes.members,
      latest: indexes.latest,
      add: refuse,
      move: refuse,
      remove: refuse,
      forget: refuse,
    },
    rateLimits: { count: refuse },
    budgets: { spend: refuse },
    put: refuse,
    replace: refuse,
    rewrite: refuse,
    delete: refuse,
    deleteAll: refuse,
    deleteIf: refuse,
  };
}
