/** What a server of Redis says of itself (INFO), judged for records that are somebody's sign-in. Pure. */
import { checkOf, type Finding } from "./finding.ts";

export type Info = ReadonlyMap<string, string>;

export function parseInfo(text: string): Info {
  const lines = text.matchAll(/^([a-z0-9_]+):(.*?)\r?$/gm);
  return new Map([...lines].map(([, name = "", value = ""]) => [name, value]));
}

export function judgeVersion(info: Info): Finding {
  const found = checkOf("redis.version");
  const version = info.get("redis_version");
  const valkey = info.get("valkey_version");
  if (version === undefined)
    return found`? Could not tell which version Redis is: it does not permit INFO
      → Make sure that it is Redis 6 or later (or Valkey), or permit its user +info.`;
  // KEEPTTL, by which records are re-encrypted, came with 6.0.
  if (Number.parseInt(version, 10) < 6)
    return found`✗ It is Redis ${version}, which lacks what the server needs
      → Upgrade to Redis 7 or later (6 at least), or Valkey.`;
  return found`✓ It is ${valkey === undefined ? `Redis ${version}` : `Valkey ${valkey}`}`;
}

export function judgeEviction(info: Info): Finding {
  const found = checkOf("redis.eviction");
  const policy = info.get("maxmemory_policy");
  if (policy === undefined)
    return found`? Could not tell what Redis does when its memory is full: it does not permit INFO
      → Make sure that its maxmemory-policy is noeviction.`;
  if (policy === "noeviction") return found`✓ It evicts nothing (maxmemory-policy noeviction)`;
  return found`! It drops records when its memory is full (maxmemory-policy ${policy}), which signs people out at random
    → Set maxmemory-policy noeviction in redis.conf or the service's console (at once: redis-cli CONFIG SET maxmemory-policy noeviction).`;
}

const FULL_SHARE = 0.8;

export function judgeMemory(info: Info): Finding | undefined {
  const found = checkOf("redis.memory");
  const used = Number(info.get("used_memory"));
  const ownLimit = Number(info.get("maxmemory"));
  const limit = ownLimit || Number(info.get("total_system_memory"));
  if (!(used >= 0) || !(limit > 0)) return undefined; // said by judgeEviction: INFO is not permitted
  const whose = ownLimit > 0 ? "(maxmemory)" : "of its machine's memory";
  const says = `It uses ${megabytes(used)} of ${megabytes(limit)} ${whose}`;
  if (used / limit < FULL_SHARE) return found`✓ ${says}`;
  return found`! ${says}: when it is full, nobody can sign in
    → ${ownLimit > 0 ? "Raise maxmemory" : "Move it to a machine of its own"}, or give it a machine with more memory.`;
}

/** @param saveRules of CONFIG GET save; undefined where that is not permitted */
export function judgePersistence(info: Info, saveRules: string | undefined): Finding {
  const found = checkOf("redis.persistence");
  if (info.get("aof_last_write_status") === "err" || info.get("rdb_last_bgsave_status") === "err")
    return found`! It could not write to its disk the last time
      → Make room on Redis' disk or correct the permissions of its folder: soon it refuses every write.`;
  if (info.get("aof_enabled") === "1") return found`✓ It writes records to disk (appendonly)`;
  const fix =
    "Set appendonly yes in redis.conf, or switch persistence on in the service's console: otherwise a restart of Redis signs everybody out.";
  if (info.get("aof_enabled") === undefined || saveRules === undefined)
    return found`? Could not tell whether records outlast a restart of Redis
      → ${fix}`;
  if (saveRules !== "")
    return found`✓ It saves records to disk from time to time (save); appendonly yes would lose fewer`;
  return found`! It keeps records in memory only: a restart of Redis signs everybody out
    → ${fix}`;
}

const SLOW_MS = 20;

/** @param milliseconds of several pings, one after the other */
export function judgeLatency(milliseconds: readonly number[], timeoutMs: number): Finding {
  const found = checkOf("redis.latency");
  const sorted = [...milliseconds].sort((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const says = `It answers in ${median.toFixed(1)} ms (median of ${sorted.length} pings)`;
  if (median > timeoutMs / 2)
    return found`✗ ${says}, and REDIS_TIMEOUT_MS is ${timeoutMs}: many requests would be answered 503
      → Use a Redis in the same network, or raise REDIS_TIMEOUT_MS.`;
  if (median > SLOW_MS)
    return found`! ${says}: sign-ins and refreshes wait for it several times each
      → Use a Redis in the same region and network as the server.`;
  return found`✓ ${says}`;
}

function megabytes(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.ceil(bytes / 2 ** 20)} MB`;
}
