/** Which process serves whom: one for everybody, or one for each principal while they use it. */
import { type Principal, principalFields } from "../../access/principal.ts";
import { BackendError } from "./backend.ts";
import { StdioConnection, type StdioConnectionOptions } from "./stdio-connection.ts";

export interface StdioConnections {
  /** @throws BackendError if there are as many processes as may be, and all are busy */
  of(principal: Principal | undefined): StdioConnection;
  close(): Promise<void>;
  /** Ends all processes at once. */
  kill(): void;
}

type Options = Omit<StdioConnectionOptions, "isKeptRunning">;

export function stdioConnections(options: Options): StdioConnections {
  return options.reach.processPer === "server" ? shared(options) : onePerPrincipal(options);
}

function shared(options: Options): StdioConnections {
  const connection = new StdioConnection({ ...options, isKeptRunning: true });
  return { of: () => connection, close: () => connection.close(), kill: () => connection.kill() };
}

/** Nobody needs a process that was not used for so long. */
const IDLE_SECONDS = 600;
const CHECK_MS = 30_000;

interface Used {
  readonly connection: StdioConnection;
  /** By the clock of the options. */
  lastUse: number;
}

function onePerPrincipal(options: Options): StdioConnections {
  const { reach, now } = options;
  const used = new Map<string, Used>();
  /** A process has some time to end by itself; until then it is ours. */
  const ending = new Map<StdioConnection, Promise<void>>();
  let isClosed = false;

  function end(key: string): void {
    const { connection } = used.get(key) ?? {};
    used.delete(key);
    if (connection !== undefined)
      ending.set(
        connection,
        connection.close().finally(() => ending.delete(connection)),
      );
  }

  /** Undefined if all are busy. */
  function longestIdle(): string | undefined {
    const idle = [...used].filter(([, { connection }]) => connection.isIdle);
    return idle.sort(([, one], [, another]) => one.lastUse - another.lastUse)[0]?.[0];
  }

  const check = setInterval(() => {
    for (const [key, { connection, lastUse }] of used)
      if (connection.isIdle && now() - lastUse > IDLE_SECONDS) end(key);
  }, CHECK_MS).unref();

  return {
    of(principal) {
      const key = principal === undefined ? "nobody" : keyOf(principal);
      const known = used.get(key);
      // Nobody would end what is started now.
      if (isClosed) throw new BackendError("backend_unreachable", "This server is ending.");
      if (known !== undefined) {
        known.lastUse = now();
        return known.connection;
      }
      if (used.size >= reach.maxProcesses) {
        const idle = longestIdle();
        if (idle === undefined)
          throw new BackendError("backend_processes_used", `All ${reach.maxProcesses} processes are busy.`);
        end(idle);
      }
      const connection = new StdioConnection({ ...options, isKeptRunning: false });
      used.set(key, { connection, lastUse: now() });
      return connection;
    },
    async close() {
      isClosed = true;
      clearInterval(check);
      for (const key of [...used.keys()]) end(key);
      await Promise.all(ending.values());
    },
    kill() {
      for (const { connection } of used.values()) connection.kill();
      for (const connection of ending.keys()) connection.kill();
    },
  };
}

function keyOf(principal: Principal): string {
  const { subject, principalKind, issuer } = principalFields(principal);
  return JSON.stringify([principalKind, issuer, subject]);
}
