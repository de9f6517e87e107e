/** A link to Redis: what it offers to the key-value store, and how its connections are made so that nothing waits for ever. */
import { createClient, type RedisClientOptions, type RedisClientType } from "@keyv/redis";
import type { Openable } from "./supervisor.ts";

/** A link is never repaired: what was lost is replaced by a new one. */
export interface RedisLink extends Openable {
  /** Whom it leads to, for the log. */
  readonly name: string;
  readonly commands: RedisCommands;
  /** One connection to every server that has keys of its own. */
  servers(): RedisClientType[];
  /** If a server is lost, the link still leads to the others, and may be used until there is a new one. */
  readonly outlivesServers: boolean;
}

/** What one server and a cluster have in common, as far as it is needed here. In a cluster every one is about one key. */
export type RedisCommands = Pick<
  RedisClientType,
  "isOpen" | "get" | "set" | "del" | "pTTL" | "eval" | "zRem" | "zRange" | "zScan"
>;

// A handshake takes longer than a command, also where that may take very little.
const LEAST_CONNECT_TIMEOUT_MS = 2_000;
// What is used is checked every second. This closes what the library forgot: it has no way to cancel a connection.
const MAX_IDLE_MS = 30_000;

export const connectTimeout = (commandTimeoutMs: number): number =>
  Math.max(commandTimeoutMs, LEAST_CONNECT_TIMEOUT_MS);

export interface ConnectionOptions {
  /** PEM: the authorities that may have signed the servers' certificates, instead of Node's own. */
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
    socketTimeout: MAX_IDLE_MS + commandTimeoutMs,
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
  client: RedisClientType,
  { commandTimeoutMs, lose }: Pick<LinkOptions, "commandTimeoutMs" | "lose">,
): Promise<void> {
  client.on("error", () => {}); // without a listener it would end the process
  try {
    await withTimeLimit(client.connect(), connectTimeout(commandTimeoutMs));
    client.on("error", lose);
  } catch (error) {
    destroyClient(client);
    throw error;
  }
}

export function clientOf(url: string, options: ConnectionOptions): RedisClientType {
  return createClient({ ...connectionOptions(url, options), url }) as RedisClientType;
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
