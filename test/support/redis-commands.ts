/**
 * What a Redis server is asked to do, command for command, those of scripts included; and whether the work of one command can grow
 * with what is stored. That is counted, and not timed: a busy machine makes anything slow.
 */
import { createClient } from "@keyv/redis";

export interface WatchedRedis {
  /** Name, in small letters, and arguments. */
  commands: string[][];
  stop(): void;
}

export async function watchRedis(url: string): Promise<WatchedRedis> {
  const client = createClient({ url, socket: { reconnectStrategy: false } }).on("error", () => {});
  await client.connect();
  const commands: string[][] = [];
  await client.monitor((line) => {
    const command = commandIn(String(line));
    if (!isTrial(command)) commands.push(command);
  });
  return { commands, stop: () => client.destroy() };
}

/** `1339518083.107412 [0 127.0.0.1:60866] "zadd" "key" "1" "member"`, where a script runs `[0 lua]`. */
function commandIn(line: string): string[] {
  const [name = "", ...rest] = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
  return [name.toLowerCase(), ...rest];
}

/** Of every server, every few seconds, on a key with one member. */
function isTrial(command: readonly string[]): boolean {
  return command.some((part) => /:trial(:\d+)?$/.test(part));
}

/** Members of an index that one command may give. The longest are the latest of a user, for their limits. */
const MOST_MEMBERS = 128;
/** … and of those that only walk through. */
const MOST_IN_A_PAGE = 500;
const MOST_ARGUMENTS = 2 * MOST_IN_A_PAGE;

/** About one key, one field or one member: the same however much there is beside it. */
const ONE_THING = [
  ...["get", "set", "pttl", "ttl", "exists", "expire", "pexpire", "incrby", "hget", "hincrby"],
  ...["zadd", "zscore", "zcard", "publish", "time", "ping", "hello", "subscribe", "info", "monitor"],
];
/** As long as its arguments are few. */
const ONE_AN_ARGUMENT = ["zrem", "del", "unlink", "eval", "evalsha"];

/** Why the work of this command may grow with what is stored; undefined if it cannot. */
export function growthOf(command: readonly string[]): string | undefined {
  const [name = "", ...args] = command;
  const shown = command.join(" ").slice(0, 120);
  const after = (option: string, place: number) => {
    const at = args.findIndex((each) => each.toUpperCase() === option);
    return at === -1 ? Number.POSITIVE_INFINITY : Number(args[at + place]);
  };
  if (args.length > MOST_ARGUMENTS) return `${args.length} arguments: ${shown}`;
  // To free all members of an index at once takes as long as they are many.
  if (["del", "unlink"].includes(name) && args.some((key) => key.includes(":index:")))
    return `a whole index is removed: ${shown}`;
  if (ONE_THING.includes(name) || ONE_AN_ARGUMENT.includes(name)) return undefined;
  const [most, count] = {
    zrange: [MOST_MEMBERS, Number(args[2]) >= 0 ? Number(args[2]) - Number(args[1]) : Infinity] as const,
    zrangebyscore: [MOST_MEMBERS, after("LIMIT", 2)] as const,
    zscan: [MOST_IN_A_PAGE, after("COUNT", 1)] as const,
    scan: [MOST_IN_A_PAGE, after("COUNT", 1)] as const,
  }[name] ?? [0, Infinity];
  return count <= most ? undefined : `nothing bounds it: ${shown}`;
}
