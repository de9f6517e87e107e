/** The link to Redis that is used at the moment: what runs on it, for how long, and what the log says about it. */

import { causes, UnavailableError } from "../../oauth/errors.ts";
import type { Log } from "../../runtime/log.ts";
import { type RedisLink, withTimeLimit } from "./link.ts";
import { type Refusal, StoreRefusesError } from "./refusal.ts";
import { supervise } from "./supervisor.ts";

export interface RedisConnection<Link extends RedisLink> {
  /** @throws UnavailableError at once without a link, and in any case within the time that a command may take. */
  run<T>(command: (link: Link) => Promise<T>): Promise<T>;
  /** Lets commands finish for as long as a command may take. */
  close(): Promise<void>;
}

export interface ConnectionOptions<Link extends RedisLink> {
  open(lose: (cause: unknown) => void): Promise<Link>;
  onOpen(link: Link): void;
  /** Also for every attempt to open one that failed. */
  onLost(): void;
  /** A command was refused: not what it was about, but the server's doing it at all. */
  onRefused(link: Link): void;
  refusalOf(error: unknown): Refusal | undefined;
  commandTimeoutMs: number;
  log: Log;
}

const MAX_PENDING_COMMANDS = 10_000;

/** Begins in the background, and goes on until it is closed. */
export function keepConnected<Link extends RedisLink>({
  open,
  onOpen,
  onLost,
  onRefused,
  refusalOf,
  commandTimeoutMs,
  log,
}: ConnectionOptions<Link>): RedisConnection<Link> {
  const outage = outageLog(log, refusalOf);
  let current: Current<Link> | undefined;
  /** Why there is no link, while there is none. */
  let lost: unknown;
  const supervisor = supervise<Link>({
    open,
    onOpen(link, lose) {
      current?.link.destroy();
      current = { link, lose, pending: new Set() };
      lost = undefined;
      outage.isOver(link.name);
      onOpen(link);
    },
    onLost(cause) {
      outage.isBecause(cause);
      lost = cause;
      if (current?.link.outlivesServers === false) current.link.destroy();
      onLost();
    },
  });

  async function attempt<T>(command: (link: Link) => Promise<T>): Promise<T> {
    if (!current?.link.commands.isOpen)
      throw new Error("there is no connection", lost === undefined ? {} : { cause: lost });
    const { link, lose, pending } = current;
    if (pending.size >= MAX_PENDING_COMMANDS) throw new Error("too many commands are waiting");
    const reply = command(link);
    pending.add(reply);
    try {
      return await reply;
    } catch (error) {
      // It was the master when the link was opened.
      if (error instanceof Error && /\bREADONLY\b/.test(error.message)) lose(error);
      else if (refusalOf(error) !== undefined) onRefused(link);
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
        const refusal = refusalOf(cause);
        if (refusal !== undefined) throw new StoreRefusesError(refusal, cause);
        throw new UnavailableError("storage", { reason: "redis_unavailable", cause });
      }
    },
    async close() {
      supervisor.close();
      if (current === undefined) return;
      await withTimeLimit(Promise.allSettled(current.pending), commandTimeoutMs).catch(() => {});
      current.link.destroy();
    },
  };
}

interface Current<Link extends RedisLink> {
  link: Link;
  lose(cause: unknown): void;
  /** What is not answered stays here, also after its caller gave up, until the link is replaced. */
  pending: Set<Promise<unknown>>;
}

/** In an outage each kind of reason is said once, not at every attempt. */
function outageLog(
  log: Log,
  refusalOf: (error: unknown) => Refusal | undefined,
): { isBecause(error: unknown): void; isOver(name: string): void } {
  const said = new Set<string>();
  return {
    isBecause(error) {
      const cause = reasonsOf(error);
      const refusal = refusalOf(error);
      const sentence =
        refusal === undefined
          ? "Redis cannot be reached; retrying"
          : `Redis ${refusal.says}; retrying. ${refusal.fix}`;
      const kind = refusal === undefined ? cause.replaceAll(/\d+/g, "") : sentence;
      if (said.has(kind)) return;
      said.add(kind);
      log.error({ reason: refusal?.reason ?? "redis_unavailable", cause }, sentence);
    },
    isOver(name) {
      log.info({ redis: name }, said.size > 0 ? "Redis is reachable again" : "Connected to Redis");
      said.clear();
    },
  };
}

/** A name with several addresses, and several nodes, fail with several errors. */
function reasonsOf(error: unknown): string {
  if (!(error instanceof AggregateError)) return causes(error);
  const reasons = [...new Set(error.errors.map(reasonsOf))].sort().join("; ");
  return error.message === "" ? reasons : `${error.message}: ${reasons}`;
}
