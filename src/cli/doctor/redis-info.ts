/** What a server of Redis says of itself (INFO), judged for records that are somebody's sign-in. Pure. */
import { checkOf, type Finding } from "./finding.ts";

export type Info = ReadonlyMap<string, string>;

export function parseInfo(text: string): Info {
  return new Map(
    [...text.matchAll(/^([a-z0-9_]+):(.*?)\r?$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );
}

// KEEPTTL, by which records are re-encrypted.
const LEAST_VERSION = [6, 0];

export function judgeVersion(info: Info): Finding {
  const { ok, failure, unknown } = checkOf("redis.version");
  const version = info.get("redis_version");
  if (version === undefined)
    return unknown(
      "Could not tell which version Redis is: it does not permit INFO",
      "Make sure that it is Redis 6 or later (or Valkey), or permit its user +info.",
    );
  const [major = 0] = version.split(".").map(Number);
  const valkey = info.get("valkey_version");
  if (major >= (LEAST_VERSION[0] ?? 0))
    return ok(valkey === undefined ? `It is Redis ${version}` : `It is Valkey ${valkey}`);
  return failure(
    `It is Redis ${version}, which lacks what the server needs`,
    "Upgrade to Redis 7 or later (6 at least), or Valkey.",
  );
}

export function judgeEviction(info: Info): Finding {
  const { ok, warning, unknown } = checkOf("redis.eviction");
  const policy = info.get("maxmemory_policy");
  if (policy === undefined)
    return unknown(
      "Could not tell what Redis does when its memory is full: it does not permit INFO",
      "Make sure that its maxmemory-policy is noeviction.",
    );
  if (policy === "noeviction") return ok("It evicts nothing (maxmemory-policy noeviction)");
  return warning(
    `It drops records when its memory is full (maxmemory-policy ${policy}), which signs people out at random`,
    "Set maxmemory-policy noeviction in redis.conf or the service's console (at once: redis-cli CONFIG SET maxmemory-policy noeviction).",
  );
}

const FULL_SHARE = 0.8;

export function judgeMemory(info: Info): Finding[] {
  const { ok, warning } = checkOf("redis.memory");
  const used = Number(info.get("used_memory"));
  const limit = Number(info.get("maxmemory")) || Number(info.get("total_system_memory"));
  if (!(used >= 0) || !(limit > 0)) return []; // said by judgeEviction: INFO is not permitted
  const isOwnLimit = Number(info.get("maxmemory")) > 0;
  const says = `It uses ${megabytes(used)} of ${megabytes(limit)} ${isOwnLimit ? "(maxmemory)" : "of its machine's memory"}`;
  if (used / limit < FULL_SHARE) return [ok(says)];
  return [
    warning(
      `${says}: when it is full, nobody can sign in`,
      isOwnLimit
        ? "Raise maxmemory, or give it a machine with more memory."
        : "Give it more memory, or move it to a machine of its own.",
    ),
  ];
}

/** @param saveRules of CONFIG GET save; undefined where that is not permitted */
export function judgePersistence(info: Info, saveRules: string | undefined): Finding {
  const { ok, warning, unknown } = checkOf("redis.persistence");
  if (info.get("aof_last_write_status") === "err" || info.get("rdb_last_bgsave_status") === "err")
    return warning(
      "It could not write to its disk the last time",
      "Make room on Redis' disk or correct the permissions of its folder: soon it refuses every write.",
    );
  if (info.get("aof_enabled") === "1") return ok("It writes records to disk (appendonly)");
  const fix =
    "Set appendonly yes in redis.conf, or switch persistence on in the service's console: otherwise a restart of Redis signs everybody out.";
  if (info.get("aof_enabled") === undefined || saveRules === undefined)
    return unknown("Could not tell whether records outlast a restart of Redis", fix);
  if (saveRules !== "")
    return ok("It saves records to disk from time to time (save); appendonly yes would lose fewer");
  return warning("It keeps records in memory only: a restart of Redis signs everybody out", fix);
}

const SLOW_MS = 20;

/** @param milliseconds of several pings, one after the other */
export function judgeLatency(milliseconds: readonly number[], timeoutMs: number): Finding {
  const { ok, warning, failure } = checkOf("redis.latency");
  const median =
    [...milliseconds].sort((one, other) => one - other)[Math.floor(milliseconds.length / 2)] ?? 0;
  const says = `It answers in ${median.toFixed(1)} ms (median of ${milliseconds.length} pings)`;
  if (median > timeoutMs / 2)
    return failure(
      `${says}, and REDIS_TIMEOUT_MS is ${timeoutMs}: many requests would be answered 503`,
      "Use a Redis in the same network, or raise REDIS_TIMEOUT_MS.",
    );
  if (median > SLOW_MS)
    return warning(
      `${says}: sign-ins and refreshes wait for it several times each`,
      "Use a Redis in the same region and network as the server.",
    );
  return ok(says);
}

function megabytes(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.ceil(bytes / 2 ** 20)} MB`;
}
