/** A link to Redis: what it offers to the records, and how its connections are made so that nothing waits for ever. */
import { createClient, type RedisClientOptions, type RedisClientType } from "@keyv/redis";

/** A link is never repaired: what was lost is replaced by a new one. */
export interface RedisLink {
  /** Whom it leads to, for the log. */
  readonly name: string;
  readonly commands: RedisCommands;
  /** One connection to every server that has keys of its own. */
  servers(): RedisClientType[];
  /** Rejects if the link has to be replaced. Takes not much longer than a command may. */
  check(): Promise<void>;
  /** If a server is lost, the link still leads to the others, and may be used until there is a new one. */
  readonly outlivesServers: boolean;
  /** What waits is rejected. May be called again. */
  destroy(): void;
}

/** What one server and a cluster have in common, as far as it is needed here. Every one is about one key. */
export type RedisCommands = Pick<RedisClientType, "isOpen" | "get" | "set" | "eval" | "zRem" | "zRange">;

// Slower than any network; a handshake takes longer than a command.
const LEAST_CONNECT_TIMEOUT_MS = 2_000;
// Links are checked every second, so nothing of ours is idle for so long: it closes what the library forgot.
const IDLE_SOCKET_MS = 30_000;

export const connectTimeout = (commandTimeoutMs: number): number =>
  Math.max(commandTimeoutMs, LEAST_CONNECT_TIMEOUT_MS);

export interface ConnectionOptions {
  /** PEM: who may have signed the servers' certificates, instead of the usual authorities. */
  ca?: string;
  commandTimeoutMs: number;
}

export interface LinkOptions extends ConnectionOptions {
  /** A key that may be read, to see whether Redis does what it is for. */
  probeKey: string;
  /** To be called when the link has to be replaced; later calls count for nothing. */
  lose(cause: unknown): void;
}

/** What is the same for every connection. It ends when it fails: who opened it decides what to do next. */
export function connectionOptions(
  url: string,
  { ca, commandTimeoutMs }: ConnectionOptions,
): RedisClientOptions {
  const socket = {
    connectTimeout: connectTimeout(commandTimeoutMs),
    socketTimeout: IDLE_SOCKET_MS,
    reconnectStrategy: false,
  } as const;
  const tls = new URL(url).protocol === "rediss:";
  return {
    // A queue for a connection that is not there would be answered to nobody, and written late.
    disableOfflineQueue: true,
    disableClientInfo: true,
    socket: tls ? { ...socket, tls, ...(ca !== undefined && { ca }) } : socket,
  };
}

/** @throws why not; then nothing is left open. `lose` hears of errors from now on. */
export async function connectClient(
  url: string,
  options: ConnectionOptions & { lose(cause: unknown): void },
): Promise<RedisClientType> {
  const client = createClient({ ...connectionOptions(url, options), url }) as RedisClientType;
  client.on("error", options.lose);
  try {
    await withTimeLimit(client.connect(), connectTimeout(options.commandTimeoutMs));
    return client;
  } catch (error) {
    destroyClient(client);
    throw error;
  }
}

/** The library throws if there is nothing to destroy. */
export function destroyClient(client: RedisClientType): void {
  if (client.isOpen) client.destroy();
}

/** `host:port`, without the password. */
export const addressOf = (url: string): string => new URL(url).host;

/** Rejects if it takes longer; what was begun goes on. */
export async function withTimeLimit<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    const giveUp = () => reject(new Error(`no answer within ${milliseconds} ms`));
    // If this process was busy, answers have arrived that it did not read yet: they come first.
    timer = setTimeout(() => setImmediate(giveUp), milliseconds);
  });
  try {
    return await Promise.race([promise, timeUp]);
  } finally {
    clearTimeout(timer);
  }
}
