/**
 * A link to the master of a Sentinel deployment, as Redis wants clients to do it: ask for the address, connect, ask
 * the server for its role, and from the beginning when the connection is lost.
 *
 * Not the library's `createSentinel`: it sends a command again whose answer was lost (a compare-and-set that succeeded
 * would then say that it failed), lets commands wait for the next master, and writes to standard output.
 */
import {
  clientOf,
  connectClient,
  destroyClient,
  type LinkOptions,
  type RedisLink,
  withTimeLimit,
} from "./link.ts";
import { openServer } from "./server.ts";

/** How an error begins that is the Sentinels', and not the master's. */
export const NO_SENTINEL = "no Sentinel names the master";

/** What a Sentinel believes; the higher epoch knows of the later failover. */
interface Master {
  /** `host:port` */
  address: string;
  epoch: number;
}

/** @throws why not; then nothing is left open. */
export async function openSentinelMaster(
  { url, sentinels }: { url: string; sentinels: readonly string[] },
  options: LinkOptions,
): Promise<RedisLink> {
  const name = new URL(url).hostname;
  const asking = sentinels.map((sentinel) => sentinelAt(sentinel, name, options));
  const master = await findMaster(name, asking);
  const link = await openServer(atAddress(url, master.address), options);
  try {
    await expectMaster(link, options);
  } catch (error) {
    link.destroy();
    throw error;
  }
  let checks = 0;
  return {
    ...link,
    async check() {
      const ask = asking[checks++ % asking.length];
      await Promise.all([link.check(), ask && expectNoOther(master, ask())]);
    },
  };
}

/** A master that was replaced may not know it for seconds: writes to it meanwhile are lost. */
async function expectNoOther(master: Master, asked: Promise<Master>): Promise<void> {
  const now = await asked.catch(() => master);
  if (now.epoch > master.epoch && now.address !== master.address)
    throw new Error(`the Sentinels made ${now.address} the master`);
}

/** Of several answers, that of the latest failover: the others have not heard of it yet. */
async function findMaster(name: string, asking: readonly AskSentinel[]): Promise<Master> {
  const asked = await Promise.allSettled(asking.map((ask) => ask()));
  const answers = asked.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  const [latest] = answers.sort((one, other) => other.epoch - one.epoch);
  if (latest !== undefined) return latest;
  const reasons = asked.flatMap((answer) => (answer.status === "rejected" ? [answer.reason] : []));
  throw new AggregateError(reasons, `${NO_SENTINEL} of ${name}`);
}

type AskSentinel = () => Promise<Master>;

/** Every question has a connection of its own. */
function sentinelAt(url: string, name: string, options: LinkOptions): AskSentinel {
  // Never connected itself. To create a client is to make a class with all commands of Redis, which took 3 % of a busy server.
  const template = clientOf(url, options);
  return async () => {
    const client = template.duplicate() as typeof template;
    await connectClient(client, { ...options, lose: () => {} });
    try {
      const reply = client.sendCommand<string[]>(["SENTINEL", "MASTER", name]);
      return parseMaster(await withTimeLimit(reply, options.commandTimeoutMs));
    } finally {
      destroyClient(client);
    }
  };
}

/** Names and values in turn. */
function parseMaster(reply: readonly string[]): Master {
  const value = (name: string) => reply[reply.indexOf(name) + 1] ?? "";
  const host = value("ip");
  const address = `${host.includes(":") ? `[${host}]` : host}:${value("port")}`;
  return { address, epoch: Number(value("config-epoch")) };
}

/** User, password, database and TLS as in `url`. */
function atAddress(url: string, address: string): string {
  const at = new URL(url);
  at.host = address;
  return at.href;
}

/** For a moment after a failover the Sentinels still name the old one. */
async function expectMaster(link: RedisLink, { commandTimeoutMs }: LinkOptions): Promise<void> {
  for (const server of link.servers()) {
    const reply = server.sendCommand<unknown[]>(["ROLE"]);
    // A user that may not ask finds out when writing.
    const [role] = await withTimeLimit(reply, commandTimeoutMs).catch(() => ["master"]);
    if (role !== "master") throw new Error(`${link.name} is not the master any more`);
  }
}
