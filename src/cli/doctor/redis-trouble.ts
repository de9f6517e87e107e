/** Why Redis cannot be used, in words, and what to do about it. Pure. What Redis itself replies is in storage/redis/refusal.ts. */
import { allCauses, refusalOf, settingOf } from "../../storage/redis/refusal.ts";
import { NO_SENTINEL } from "../../storage/redis/sentinel.ts";
import type { RedisTopology } from "../../storage/redis/topology.ts";
import { certificateProblem, codeOf } from "./ask.ts";
import { type Trouble, trouble } from "./finding.ts";

/** Where it is, without user and password. */
export function placeOf(topology: RedisTopology): string {
  const host = (url: string) => new URL(url).host;
  if ("clusterNodes" in topology) return topology.clusterNodes.map(host).join(", ");
  if ("sentinels" in topology)
    return `the master ${host(topology.url)} (Sentinels ${topology.sentinels.map(host).join(", ")})`;
  return host(topology.url);
}

export function redisTrouble(error: unknown, deployment: RedisTopology & { keyPrefix: string }): Trouble {
  const text = allCauses(error);
  const [place, setting] = [placeOf(deployment), settingOf(deployment, text)];
  const refusal = refusalOf(error, deployment);
  if (refusal !== undefined) return { says: `Redis at ${place} ${refusal.says}`, fix: refusal.fix };
  if (text.includes(NO_SENTINEL))
    return trouble`Redis at ${place} is not named by any Sentinel
      → Check the addresses in REDIS_SENTINELS, and that the host in REDIS_URL is the name that the Sentinels have for the master (redis-cli -p 26379 sentinel masters).`;
  if (/ERR_SSL|EPROTO|wrong version number|packet length too long/i.test(text))
    return trouble`Redis at ${place} does not speak TLS on this port
      → Write redis:// in place of rediss:// in ${setting}, or use its TLS port.`;
  if (/ECONNRESET|Socket closed unexpectedly|closed the connection/i.test(text))
    return trouble`Redis at ${place} ends the connection at once
      → If it speaks TLS on this port, write rediss:// in place of redis:// in ${setting}; otherwise Redis' log says why.`;
  if (/no answer within|ETIMEDOUT|timeout/i.test(text))
    return trouble`Redis at ${place} does not answer in time
      → Check that it is not overloaded (redis-cli --latency), and that a firewall lets this computer reach it; with rediss://, that it speaks TLS on this port (otherwise write redis://).`;
  const code = codeOf(error);
  const ownAuthority =
    "Set REDIS_CA_FILE to the file (PEM) with the certificate of the authority that signed it.";
  const certificate = certificateProblem(code, ownAuthority);
  if (certificate !== undefined)
    return { says: `The certificate of Redis at ${place} ${certificate.says}`, fix: certificate.fix };
  if (code === "ECONNREFUSED")
    return trouble`Nothing listens at ${place}: Redis is not running there
      → Start Redis, or correct ${setting}. In a container, localhost is the container itself: use the name of the Redis service.`;
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return trouble`The host name of Redis (${place}) is not known here
      → Correct the host in ${setting}; a name of a compose file is known only inside its network.`;
  return trouble`Redis at ${place} cannot be reached: ${text || "no reason was given"}
    → Check ${setting}, and that a firewall lets this computer reach it. If Redis speaks TLS, write rediss:// in place of redis://, and the other way round.`;
}
