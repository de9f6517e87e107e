/** Keeps a link to Redis: opens it, checks it, replaces it when it is lost, and lets no command wait for long. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { causes, UnavailableError } from "../oauth/errors.ts";
import { type RedisLink, withTimeLimit } from "./redis-link.ts";

export interface RedisConnection<Link extends RedisLink> {
  /** @throws UnavailableError at once without a link, and in any case within the time that a command may take. */
  run<T>(command: (link: Link) => Promise<T>): Promise<T>;
  /** Lets commands finish for as long as a command may take. */
  close(): Promise<void>;
}

export interface ConnectionKeeping<Link extends RedisLink> {
  open(lose: (cause: unknown) => void): Promise<Link>;
  commandTimeoutMs: number;
  log: Logger;
}

const CHECK_INTERVAL_MS = 1_000;
const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 1_000;
const MAX_PENDING_COMMANDS = 10_000;

/** Begins in the background, and goes on until it is closed. */
export function keepConnected<Link extends RedisLink>({
  open,
  commandTimeoutMs,
  log,
}: ConnectionKeeping<Link>): RedisConnection<Link> {
  const outage = outageLog(log);
  const closing = new AbortController();
  let current: Kept<Link> | undefined;
  void keep();

  async function keep(): Promise<void> {
    for (let failures = 0; !closing.signal.aborted; failures++) {
      const loss = new AbortController();
      try {
        const link = await open((cause) => loss.abort(cause));
        if (closing.signal.aborted) return link.destroy();
        current?.link.destroy();
        current = { link, loss, pending: new Set() };
        outage.isOver(link.name);
        for (;;) {
          await pause(CHECK_INTERVAL_MS, loss.signal);
          await link.check();
          failures = 0;
        }
      } catch (error) {
        if (closing.signal.aborted) return;
        outage.isBecause(loss.signal.reason ?? error);
      }
      if (current?.link.outlivesServers === false) current.link.destroy();
      await pause(retryDelay(failures), closing.signal).catch(() => {});
    }
  }

  async function attempt<T>(command: (link: Link) => Promise<T>): Promise<T> {
    if (!current?.link.commands.isOpen) throw new Error("there is no connection");
    const { link, loss, pending } = current;
    if (pending.size >= MAX_PENDING_COMMANDS) throw new Error("too many commands are waiting");
    const reply = command(link);
    pending.add(reply);
    try {
      return await reply;
    } catch (error) {
      // It was the master when the link was opened.
      if (error instanceof Error && /\bREADONLY\b/.test(error.message)) loss.abort(error);
      throw error;
    } finally {
      pending.delete(reply);
    }
  }

  return {
    async run(command) {
      try {
        return await withTimeLimit(attempt(command), commandTimeoutMs);
      } catch (cause) {
        throw new UnavailableError("storage", { reason: "redis_unavailable", cause });
      }
    },
    async close() {
      closing.abort();
      const { link, loss, pending } = current ?? {};
      await withTimeLimit(Promise.allSettled(pending ?? []), commandTimeoutMs).catch(() => {});
      loss?.abort();
      link?.destroy();
    },
  };
}

interface Kept<Link extends RedisLink> {
  link: Link;
  /** Aborted with the reason, when the link has to be replaced. */
  loss: AbortController;
  /** What is not answered stays here, also after its caller gave up, until the link is replaced. */
  pending: Set<Promise<unknown>>;
}

/** Half of it at random: replicas that lost the same server must not come back in step. */
function retryDelay(failures: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS);
  return longest * (1 - Math.random() / 2);
}

/** A timer that does not keep the process alive. */
const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  delay(milliseconds, undefined, { signal, ref: false });

/** In an outage each kind of reason is said once, not at every attempt. */
function outageLog(log: Logger): { isBecause(error: unknown): void; isOver(name: string): void } {
  const said = new Set<string>();
  return {
    isBecause(error) {
      const cause = reasonsOf(error);
      const kind = cause.replaceAll(/\d+/g, "");
      if (said.has(kind)) return;
      said.add(kind);
      // Replies begin with a code in capital letters, such as NOAUTH, LOADING or CLUSTERDOWN.
      const isReply = /^[A-Z]+ /.test(cause);
      log.error(
        { reason: "redis_unavailable", cause },
        isReply ? "Redis answers, but refuses this server; retrying" : "Redis cannot be reached; retrying",
      );
    },
    isOver(name) {
      log.info({ redis: name }, said.size > 0 ? "Redis is reachable again" : "Connected to Redis");
      said.clear();
    },
  };
}

/** An address that stands for several, and several Sentinels, fail with several errors. */
function reasonsOf(error: unknown): string {
  if (!(error instanceof AggregateError)) return causes(error);
  const reasons = [...new Set(error.errors.map(reasonsOf))].join("; ");
  return error.message === "" ? reasons : `${error.message}: ${reasons}`;
}
