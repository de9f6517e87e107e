/** Why Redis cannot be used, in words, and what to do about it. Pure. */
import { allCauses, refusalOf, settingOf } from "../../storage/redis/refusal.ts";
import type { RedisTopology } from "../../storage/redis/topology.ts";
import { CERTIFICATE_PROBLEMS, codeOf, PRIVATE_AUTHORITY } from "./ask.ts";

/** Where it is, without user and password. */
export function placeOf(topology: RedisTopology): { place: string; setting: string } {
  const host = (url: string) => new URL(url).host;
  const setting = settingOf(topology);
  if ("clusterNodes" in topology) return { place: topology.clusterNodes.map(host).join(", "), setting };
  if ("sentinels" in topology)
    return {
      place: `the master ${host(topology.url)} (Sentinels ${topology.sentinels.map(host).join(", ")})`,
      setting,
    };
  return { place: host(topology.url), setting };
}

export function redisTrouble(
  error: unknown,
  deployment: RedisTopology & { keyPrefix: string },
): { says: string; fix: string } {
  const { place, setting } = placeOf(deployment);
  const refusal = refusalOf(error, deployment);
  if (refusal !== undefined) return { says: `Redis at ${place} ${refusal.says}`, fix: refusal.fix };
  const text = allCauses(error);
  const connection = CONNECTIONS.find(([pattern]) => pattern.test(text));
  if (connection !== undefined) {
    const [, says, fix] = connection;
    return { says: `Redis at ${place} ${says}`, fix: fix.replaceAll("SETTING", setting) };
  }
  const code = codeOf(error);
  const certificate = CERTIFICATE_PROBLEMS[code];
  if (certificate !== undefined)
    return {
      says: `The certificate of Redis at ${place} ${certificate.says}`,
      fix:
        certificate === PRIVATE_AUTHORITY
          ? "Set REDIS_CA_FILE to the file (PEM) with the certificate of the authority that signed it."
          : certificate.fix,
    };
  if (code === "ECONNREFUSED")
    return {
      says: `Nothing listens at ${place}: Redis is not running there`,
      fix: `Start Redis, or correct ${setting}. In a container, localhost is the container itself: use the name of the Redis service.`,
    };
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return {
      says: `The host name of Redis (${place}) is not known here`,
      fix: `Correct the host in ${setting}; a name of a compose file is known only inside its network.`,
    };
  return {
    says: `Redis at ${place} cannot be reached: ${text || "no reason was given"}`,
    fix: `Check ${setting}, and that a firewall lets this computer reach it. If Redis speaks TLS, write rediss:// in place of redis://, and the other way round.`,
  };
}

/** What the library says of a connection that fails; what Redis itself replies is in storage/redis/refusal.ts. */
const CONNECTIONS: ReadonlyArray<[RegExp, string, string]> = [
  [
    /no Sentinel names the master/,
    "is not named by any Sentinel",
    "Check the addresses in REDIS_SENTINELS, and that the host in REDIS_URL is the name that the Sentinels have for the master (redis-cli -p 26379 sentinel masters).",
  ],
  [
    /ERR_SSL|EPROTO|wrong version number|packet length too long/i,
    "does not speak TLS on this port",
    "Write redis:// in place of rediss:// in SETTING, or use its TLS port.",
  ],
  [
    /ECONNRESET|Socket closed unexpectedly|closed the connection/i,
    "ends the connection at once",
    "If it speaks TLS on this port, write rediss:// in place of redis:// in SETTING; otherwise Redis' log says why.",
  ],
  [
    /no answer within|ETIMEDOUT|Connection timeout|timeout/i,
    "does not answer in time",
    "Check that it is not overloaded (redis-cli --latency), and that a firewall lets this computer reach it; with rediss://, that it speaks TLS on this port (otherwise write redis://).",
  ],
];
