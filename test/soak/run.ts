/** One soak, from an empty Redis to the figures. */
import http from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@keyv/redis";
import { startDeployment } from "./deployment.ts";
import { createPacer, IDLE_MS } from "./http-client.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { type MemorySeries, watchMemory } from "./memory.ts";
import { EVENTS, runTimeline } from "./timeline.ts";
import { createTraffic } from "./traffic.ts";

export interface SoakSettings {
  minutes: number;
  /** Requests per second, at most. */
  rate: number;
  /** A provider that rotates loses what a killed process was just given (docs/architecture.md): no kill -9 then. */
  provider: "static" | "rotating";
  say(line: string): void;
}

export interface SoakReport {
  settings: SoakSettings;
  sessionsAtOnce: number;
  providerTokenSeconds: number;
  /** Of the traffic, without the roll call. */
  seconds: number;
  ledger: Ledger;
  upstreamRefreshes: number;
  sessionsAtEnd: number;
  redis: { version: string; usedMb: number; keys: Map<string, number> };
  memory: MemorySeries[];
}

const MEMORY_SAMPLES = 300;

export async function soak(settings: SoakSettings): Promise<SoakReport> {
  const { minutes, rate, provider, say } = settings;
  const durationMs = minutes * 60_000;
  const sessionsAtOnce = Math.min(300, Math.max(10, Math.round(rate * 0.6)));
  const providerTokenSeconds = Math.round(Math.min(60, Math.max(8, (minutes * 60) / 4)));
  // The test browser and the balancer use it; see IDLE_MS.
  http.globalAgent = new http.Agent({ keepAlive: true, timeout: IDLE_MS });
  const deployment = await startDeployment({
    refreshTokens: provider,
    accessTokenSeconds: providerTokenSeconds,
  });
  const ending = endWith(() => deployment.close());
  const ledger = createLedger();
  const traffic = createTraffic(sessionsAtOnce, { deployment, ledger, pacer: createPacer(rate) });
  try {
    say(`Signing ${sessionsAtOnce} sessions in`);
    await traffic.begin();
    const memory = watchMemory(deployment.servers, Math.max(1_000, durationMs / MEMORY_SAMPLES));
    const begun = performance.now();
    const running = traffic.run(Math.max(20, 2 * rate));
    const events = EVENTS.filter(({ name }) => provider === "static" || !name.startsWith("replica"));
    const happened = runTimeline(deployment, ledger, { events, durationMs, say });
    await Promise.race([Promise.all([happened, delay(durationMs)]), running]);
    traffic.stop();
    await running;
    const series = memory.stop();
    const seconds = (performance.now() - begun) / 1000;
    ledger.begin("roll call");
    say(`${ledger.seconds().toFixed(0)} s: roll call of ${traffic.sessions.size} sessions`);
    const sessionsAtEnd = await traffic.rollCall();
    return {
      settings,
      sessionsAtOnce,
      providerTokenSeconds,
      seconds,
      ledger,
      upstreamRefreshes: deployment.upstream.seen.filter(({ grantType }) => grantType === "refresh_token")
        .length,
      sessionsAtEnd,
      redis: await lookInto(deployment.redisUrl()),
      memory: series,
    };
  } finally {
    ending.cancel();
    traffic.stop();
    await deployment.close();
  }
}

/** Whoever interrupts the soak must not find its processes still there. */
export function endWith(clean: () => Promise<void>): { cancel(): void } {
  const end = (): void => void clean().finally(() => process.exit(130));
  process.once("SIGINT", end).once("SIGTERM", end);
  return { cancel: () => void process.off("SIGINT", end).off("SIGTERM", end) };
}

export async function lookInto(url: string): Promise<SoakReport["redis"]> {
  const client = createClient({ url });
  await client.connect();
  const keys = new Map<string, number>();
  for await (const batch of client.scanIterator({ MATCH: "*", COUNT: 500 }))
    for (const key of batch) {
      const kind = key
        .split(":")
        .slice(1, key.includes(":index:") ? 3 : 2)
        .join(":");
      keys.set(kind, (keys.get(kind) ?? 0) + 1);
    }
  const info = await client.info();
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1] ?? "";
  client.destroy();
  return { version: field("redis_version"), usedMb: Number(field("used_memory")) / 1024 / 1024, keys };
}
