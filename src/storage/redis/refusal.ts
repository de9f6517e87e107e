/** What a reply of Redis that refuses means: to the operator, who can repair it, and to whoever waits for it. Pure. */

import { causes, UnavailableError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { NO_SENTINEL } from "./sentinel.ts";
import type { RedisTopology } from "./topology.ts";

/** Redis answers, and does not do what it is asked. */
export interface Refusal {
  /** For the log. */
  reason: ReasonCode;
  /** Completes "Redis …". */
  says: string;
  /** For the operator. */
  fix: string;
  /** For clients and people, who cannot repair it. */
  forClients: string;
}

type Deployment = RedisTopology & { keyPrefix: string };

const CANNOT_BE_REACHED = "The storage cannot be reached right now. Try again in a moment.";
const NOT_SET_UP =
  "This server is not permitted what it needs at its storage. Its operator has to repair that.";
const NOT_WRITABLE = "The storage cannot be written to right now. Try again in a moment.";
const FULL = "This server's storage is full. Its operator has to make room.";

/** Undefined if nothing was refused: Redis cannot be reached, or something else is wrong. */
export function refusalOf(error: unknown, deployment: Deployment): Refusal | undefined {
  const text = allCauses(error);
  const known = KNOWN.find(([pattern]) => pattern.test(text));
  if (known === undefined) return undefined;
  const [, reason, says, fix, forClients] = known;
  const fill = (sentence: string) => sentence.replaceAll("SETTING", settingOf(deployment, text));
  const remedy = reason === "redis_not_permitted" && fix === "" ? grantLine(text, deployment) : fix;
  return { reason, says: fill(says), fix: fill(remedy), forClients };
}

/**
 * The setting that says where Redis is, and who asks there.
 * @param text of an error, see {@link allCauses}: with Sentinels, user and password of the master are in another setting than theirs
 */
export function settingOf(topology: RedisTopology, text: string): string {
  if ("clusterNodes" in topology) return "REDIS_CLUSTER_NODES";
  return text.includes(NO_SENTINEL) ? "REDIS_SENTINELS" : "REDIS_URL";
}

/** By category where there is one for what scripts need: TIME is in none of these. INFO is for the doctor. */
const COMMANDS = "+@read +@write +@scripting +@pubsub +@connection +info +time";

/** Which node has which slots. */
const OF_A_CLUSTER = "+cluster|slots";

/**
 * The ACL line that grants what is missing. Keys and channels are named only where they were refused: Redis takes no pattern
 * from a user who has all of them.
 */
function grantLine(text: string, deployment: Deployment): string {
  const { keyPrefix } = deployment;
  const isCluster = "clusterNodes" in deployment;
  const [first = ""] = isCluster ? deployment.clusterNodes : [deployment.url];
  const user = decodeURIComponent(new URL(first).username) || "default";
  const refused = (what: RegExp) => what.test(text);
  const line = [
    `ACL SETUSER ${user}`,
    ...(refused(/\bkeys?\b/i) ? [`~${keyPrefix}:*`] : []),
    ...(refused(/\bchannels?\b/i) ? [`&${keyPrefix}:*`] : []),
    COMMANDS,
    ...(isCluster ? [OF_A_CLUSTER] : []),
  ].join(" ");
  const where = isCluster ? " on every node" : "";
  return `Give the user what it needs${where}: ${line} (and write it into Redis' configuration, with ACL SAVE or CONFIG REWRITE).`;
}

/** A reply begins with a code (`NOAUTH`, `LOADING` …); within a script some have none. */
const KNOWN: ReadonlyArray<
  [pattern: RegExp, reason: ReasonCode, says: string, fix: string, forClients: string]
> = [
  [
    /NOAUTH/,
    "redis_login_refused",
    "wants a password, and SETTING has none",
    "Write it into SETTING: redis://:PASSWORD@host:6379, with special characters percent-encoded.",
    NOT_SET_UP,
  ],
  [
    /WRONGPASS|invalid password|without any password/i,
    "redis_login_refused",
    "refuses the user or password of SETTING",
    "Correct user and password in SETTING (special characters percent-encoded); a password alone is written redis://:PASSWORD@host.",
    NOT_SET_UP,
  ],
  [
    /unknown command .?SENTINEL/i,
    "redis_unavailable",
    "answers at REDIS_SENTINELS itself, where no Sentinel is",
    "Name the Sentinels in REDIS_SENTINELS, mostly on port 26379; without Sentinels leave it out, and set REDIS_URL to the server.",
    NOT_SET_UP,
  ],
  [
    /DB index is out of range|SELECT is not allowed in cluster mode/i,
    "redis_unavailable",
    "has no database of the number in REDIS_URL",
    "Correct the number behind the host in REDIS_URL, or leave it out: most servers have 0 to 15.",
    NOT_SET_UP,
  ],
  [
    /NOPERM|no permissions|user executing the script can't|ACL failure in script/i,
    "redis_not_permitted",
    "does not permit its user what the server needs",
    "",
    NOT_SET_UP,
  ],
  [
    /unknown (redis )?command/i,
    "redis_not_permitted",
    "does not know a command that the server needs",
    "Take away the rename-command lines of its configuration, or the list of commands that the service forbids; it must be Redis 6 or later, or Valkey.",
    NOT_SET_UP,
  ],
  [
    /READONLY/,
    "redis_read_only",
    "is a replica, to which nothing can be written",
    "Let SETTING lead to the master; with Sentinels use REDIS_SENTINELS, which finds it.",
    NOT_WRITABLE,
  ],
  [
    /\bOOM\b/,
    "redis_full",
    "has used up its memory and refuses to write",
    "Raise its maxmemory; users cannot sign in until then.",
    FULL,
  ],
  [
    /MISCONF/,
    "redis_not_writable",
    "refuses to write because it could not save to its disk",
    "Make room on Redis' disk, or correct the permissions of its folder; Redis' log says which.",
    NOT_WRITABLE,
  ],
  [
    /NOREPLICAS/,
    "redis_not_writable",
    "refuses to write because it has too few replicas",
    "Bring its replicas back, or lower min-replicas-to-write.",
    NOT_WRITABLE,
  ],
  [/LOADING/, "redis_unavailable", "is loading its data", "Wait until it has finished.", CANNOT_BE_REACHED],
  [
    /CLUSTERDOWN/,
    "redis_unavailable",
    "is a cluster of which a part is down",
    "Repair the cluster: redis-cli --cluster check host:port says what is missing.",
    CANNOT_BE_REACHED,
  ],
  [
    /\bMOVED\b|cluster support|CROSSSLOT/i,
    "redis_unavailable",
    "is (or is not) a cluster, other than SETTING says",
    "Use REDIS_CLUSTER_NODES for a cluster, REDIS_URL for a single server.",
    NOT_SET_UP,
  ],
];

/** Every message, also those below an error whose own message is for clients and says nothing of the reason. */
export function allCauses(error: unknown): string {
  if (error instanceof UnavailableError && error.cause !== undefined) return allCauses(error.cause);
  if (error instanceof AggregateError)
    return [error.message, ...error.errors.map(allCauses)].filter((each) => each !== "").join(": ");
  if (!(error instanceof Error) || error.cause === undefined) return causes(error);
  return `${error.message}: ${allCauses(error.cause)}`;
}

/** Redis answers and refuses: never "not found", and nothing was done. */
export class StoreRefusesError extends UnavailableError {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, cause: unknown) {
    const { reason, forClients } = refusal;
    const untilRepaired = forClients === NOT_SET_UP || forClients === FULL;
    super("storage", { reason, description: forClients, cause, untilRepaired });
    this.refusal = refusal;
  }
}
