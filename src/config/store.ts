/** Where records are kept: one Redis, the master of a Sentinel deployment, a cluster, or memory for a trial. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { RedisTopology } from "../storage/redis/topology.ts";
import { isPercentEncoded, type Settings } from "./settings.ts";

export type StoreConfig =
  | (RedisTopology & { kind: "redis"; keyPrefix: string; commandTimeoutMs: number })
  | { kind: "memory" };

const PLACES = ["REDIS_URL", "REDIS_SENTINELS", "REDIS_CLUSTER_NODES"] as const;

export function storeConfig(settings: Settings): StoreConfig {
  const kind = settings.optional("STORE");
  if (kind !== undefined && kind !== "memory" && kind !== "redis")
    settings.problem("STORE", 'must be "redis" or "memory"', "write one of them, or leave it out for redis");
  if (kind === "memory") {
    for (const name of PLACES.filter((name) => settings.optional(name) !== undefined))
      settings.problem("STORE", `is memory, and ${name} is set`, "remove one of them");
    return { kind: "memory" };
  }
  const ca = certificateAuthority(settings);
  return {
    kind: "redis",
    ...redisTopology(settings),
    ...(ca !== undefined && { ca }),
    keyPrefix: settings.text("REDIS_KEY_PREFIX", "mcp-oidc-proxy"),
    commandTimeoutMs: settings.integer("REDIS_TIMEOUT_MS", 2_000, 50, 60_000),
  };
}

function redisTopology(settings: Settings): RedisTopology {
  const clusterNodes = nodes(settings, "REDIS_CLUSTER_NODES", "6379");
  if (clusterNodes !== undefined) {
    for (const other of ["REDIS_URL", "REDIS_SENTINELS"].filter(
      (name) => settings.optional(name) !== undefined,
    ))
      settings.problem(
        "REDIS_CLUSTER_NODES",
        `is set beside ${other}`,
        "keep the first for a cluster, the other if it is none",
      );
    return { clusterNodes };
  }
  const sentinels = nodes(settings, "REDIS_SENTINELS", "26379");
  return sentinels === undefined ? { url: serverUrl(settings) } : { url: masterUrl(settings), sentinels };
}

function serverUrl(settings: Settings): string {
  const url = settings.required(
    "REDIS_URL",
    "set it to where registrations and tokens are kept, such as redis://localhost:6379 (or STORE=memory for a trial: a restart signs everybody out)",
  );
  if (url !== "" && !isRedisUrl(url))
    settings.problem(
      "REDIS_URL",
      "must be like redis://user:password@host:6379/0 or rediss://…",
      "write it so, with special characters of the password percent-encoded",
    );
  return url;
}

/** With a port it would be a server's: the one from before there were Sentinels, forgotten. */
function masterUrl(settings: Settings): string {
  const url = settings.text("REDIS_URL", "redis://mymaster");
  if (!isRedisUrl(url) || new URL(url).port !== "")
    settings.problem(
      "REDIS_URL",
      "beside REDIS_SENTINELS has the master's name as its host and no port, such as redis://user:password@mymaster",
      "write it so, or leave it out if it would be redis://mymaster",
    );
  return url;
}

/** The first says for all of them how they are spoken to: `rediss://user:password@` or nothing. */
function nodes(settings: Settings, name: string, usualPort: string): string[] | undefined {
  if (settings.optional(name) === undefined) return undefined;
  const entries = settings.list(name, () => true, "");
  const beginning = /^rediss?:\/\/([^@]*@)?/.exec(entries[0] ?? "")?.[0] ?? "redis://";
  const hosts = entries.map((entry) => (entry.startsWith(beginning) ? entry.slice(beginning.length) : entry));
  const isHost = (host: string) => /^[^/@]+$/.test(host) && isRedisUrl(beginning + host);
  if (hosts.length === 0 || !hosts.every(isHost))
    settings.problem(
      name,
      "must be a comma-separated list of host:port, of which the first may begin with redis://user:password@ or rediss://… for all",
      "write it so, with special characters of the password percent-encoded",
    );
  return hosts.filter(isHost).map((host) => {
    const url = new URL(beginning + host);
    if (url.port === "") url.port = usualPort;
    return url.href;
  });
}

/** With credentials that can be decoded, and nothing but a database behind the host. */
function isRedisUrl(value: string): boolean {
  if (!/^rediss?:\/\//.test(value) || !URL.canParse(value)) return false;
  const { hostname, username, password, pathname, search, hash } = new URL(value);
  const isServer = hostname !== "" && /^\/?\d*$/.test(pathname) && search === "" && hash === "";
  return isServer && isPercentEncoded(username) && isPercentEncoded(password);
}

/** Read at the start, so that a wrong path is reported then, and not by connections that fail. */
function certificateAuthority(settings: Settings): string | undefined {
  const path = settings.optional("REDIS_CA_FILE");
  if (path === undefined) return undefined;
  if (!PLACES.some((name) => settings.optional(name)?.includes("rediss://"))) {
    settings.problem(
      "REDIS_CA_FILE",
      "is for Redis over TLS",
      "write rediss:// in place of redis://, or remove it",
    );
    return undefined;
  }
  try {
    const pem = readFileSync(path, "utf8");
    const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
    if (certificates.length === 0) throw new Error("no certificate");
    for (const certificate of certificates) new X509Certificate(certificate);
    return pem;
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const problem = FILE_PROBLEMS[code] ?? "is not a file of certificates (PEM)";
    settings.problem(
      "REDIS_CA_FILE",
      `names ${path}, which ${problem}`,
      "name a file of certificates (PEM) that this user may read",
    );
    return undefined;
  }
}

const FILE_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  EACCES: "may not be read by this user",
  EISDIR: "is a folder",
};
