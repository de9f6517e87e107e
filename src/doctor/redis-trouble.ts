/** Why Redis cannot be used, in words, and what to do about it. Pure. */
import { causes, UnavailableError } from "../oauth/errors.ts";
import type { RedisTopology } from "../storage/redis-topology.ts";
import { CERTIFICATE_PROBLEMS, codeOf } from "./ask.ts";

/** Where it is, without user and password. */
export function placeOf(topology: RedisTopology): { place: string; setting: string } {
  const host = (url: string) => new URL(url).host;
  if ("clusterNodes" in topology)
    return { place: topology.clusterNodes.map(host).join(", "), setting: "REDIS_CLUSTER_NODES" };
  if ("sentinels" in topology)
    return {
      place: `the master ${host(topology.url)} (Sentinels ${topology.sentinels.map(host).join(", ")})`,
      setting: "REDIS_SENTINELS",
    };
  return { place: host(topology.url), setting: "REDIS_URL" };
}

export function redisTrouble(error: unknown, topology: RedisTopology): { says: string; fix: string } {
  const { place, setting } = placeOf(topology);
  const text = allCauses(error);
  const reply = REPLIES.find(([pattern]) => pattern.test(text));
  if (reply !== undefined) {
    const [, says, fix] = reply;
    return {
      says: `Redis at ${place} ${says.replaceAll("SETTING", setting)}`,
      fix: fix.replaceAll("SETTING", setting),
    };
  }
  const code = codeOf(error);
  const certificate = CERTIFICATE_PROBLEMS[code];
  if (certificate !== undefined)
    return {
      says: `The certificate of Redis at ${place} ${certificate.says}`,
      fix: /authority/.test(certificate.says)
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

/** A command's reply begins with a code (`NOAUTH`, `LOADING` …); the library says the rest. */
const REPLIES: ReadonlyArray<[RegExp, string, string]> = [
  [
    /NOAUTH/,
    "wants a password, and SETTING has none",
    "Write it into SETTING: redis://:PASSWORD@host:6379, with special characters percent-encoded.",
  ],
  [
    /WRONGPASS|invalid password|without any password/i,
    "refuses the user or password of SETTING",
    "Correct user and password in SETTING (special characters percent-encoded); a password alone is written redis://:PASSWORD@host.",
  ],
  [
    /NOPERM|no permissions|can't publish to the channel/i,
    "does not permit its user what the server needs",
    "Give the user the keys and channels under REDIS_KEY_PREFIX and the commands: ACL SETUSER name ~PREFIX:* &PREFIX:* +@read +@write +@scripting +@pubsub +@connection +info +time.",
  ],
  [
    /READONLY/,
    "is a replica, to which nothing can be written",
    "Let SETTING lead to the master; with Sentinels use REDIS_SENTINELS, which finds it.",
  ],
  [
    /\bOOM\b/,
    "has used up its memory and refuses to write",
    "Raise its maxmemory; users cannot sign in until then.",
  ],
  [
    /MISCONF/,
    "refuses to write because it could not save to its disk",
    "Make room on Redis' disk, or correct the permissions of its folder; Redis' log says which.",
  ],
  [/LOADING/, "is loading its data", "Wait until it has finished, then run the doctor again."],
  [
    /CLUSTERDOWN/,
    "is a cluster of which a part is down",
    "Repair the cluster: redis-cli --cluster check host:port says what is missing.",
  ],
  [
    /\bMOVED\b|cluster support|CROSSSLOT/i,
    "is (or is not) a cluster, other than SETTING says",
    "Use REDIS_CLUSTER_NODES for a cluster, REDIS_URL for a single server.",
  ],
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

function allCauses(error: unknown): string {
  // What is told to clients says nothing of the reason.
  if (error instanceof UnavailableError && error.cause !== undefined) return allCauses(error.cause);
  if (error instanceof AggregateError)
    return [error.message, ...error.errors.map(allCauses)].filter((each) => each !== "").join(": ");
  const text = causes(error);
  const { cause } = error as { cause?: unknown };
  return cause instanceof AggregateError ? `${text}: ${allCauses(cause)}` : text;
}
