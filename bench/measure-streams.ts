/** What streams that are passed on hold in this server's memory: large results, read at once or not at all, and many that stay open. */
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { type Deployment, type Subject, signIn } from "./deployment.ts";
import { behind, PATH, startInFront } from "./measure-pass-through.ts";

export interface StreamFigures {
  megabytes: number;
  /** Clients at once. */
  readers: number;
  /** Bytes in memory beside what was there, at the most, while all read a result. */
  reading: number;
  /** The same, while none of them reads. */
  notReading: number;
  open: number;
  /** Bytes in memory for each that is open. */
  perOpen: number;
  /** The same, when they have been open for a while. */
  perOpenLater: number;
  laterSeconds: number;
  /** Milliseconds of processor time in each of these seconds that all of them take. */
  idleMs: number;
  /** Bytes in memory beside what was there, when all are closed. */
  left: number;
}

export interface StreamEffort {
  megabytes: number;
  readers: number;
  open: number;
  laterSeconds: number;
}

export async function measureStreams(deployment: Deployment, effort: StreamEffort): Promise<StreamFigures> {
  const backend = await deployment.plain("streams", { tools: 1 });
  const subject = await startInFront(deployment, backend.url, {
    MAX_RUNNING_CALLS_PER_GRANT: String(effort.open + effort.readers),
  });
  const { access_token: accessToken } = await signIn(deployment, PATH);
  const client = await clientOf(behind(subject).url, accessToken);
  const { megabytes, readers, laterSeconds } = effort;

  // Once, so that nothing of it is the first use of something.
  await Promise.all(Array.from({ length: readers }, async () => readAll(await client.call(megabytes))));
  await delay(2_000);
  const atFirst = await subject.memory();
  const idleBefore = await idleMs(subject, laterSeconds);
  const reading = client.callAll(readers, megabytes).then((answers) => Promise.all(answers.map(readAll)));
  const whileReading = await mostUntil(subject, reading);
  const unread = await client.callAll(readers, megabytes);
  await delay(2_000);
  const whileNotReading = await subject.memory();
  for (const each of unread) each.destroy();

  await delay(1_000);
  const before = await subject.memory();
  const streams = await inTurn(effort.open, () => client.open());
  const opened = await subject.memory();
  const idleWithOpen = await idleMs(subject, laterSeconds);
  const later = await subject.memory();
  for (const each of streams) each.destroy();
  await delay(2_000);
  return {
    ...effort,
    reading: whileReading - atFirst,
    notReading: whileNotReading - atFirst,
    perOpen: (opened - before) / effort.open,
    perOpenLater: (later - before) / effort.open,
    idleMs: idleWithOpen - idleBefore,
    left: (await subject.memory()) - before,
  };
}

/** An MCP client that says only what has to be said. */
async function clientOf(url: string, accessToken: string) {
  const headers = {
    authorization: `Bearer ${accessToken}`,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  };
  const send = async (method: string, more: Record<string, string>, message?: object) => {
    const sent: ClientRequest = request(url, { method, headers: { ...headers, ...more }, agent: false });
    sent.end(message && JSON.stringify({ jsonrpc: "2.0", ...message }));
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    if (answer.statusCode !== 200) throw new Error(`${method} was answered ${answer.statusCode}`);
    return answer.on("error", () => {}); // hung up on
  };
  const params = {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "bench", version: "1" },
  };
  const introduced = await send("POST", {}, { id: 0, method: "initialize", params });
  introduced.resume();
  const session = { "mcp-session-id": String(introduced.headers["mcp-session-id"]) };
  const call = (megabytes: number) =>
    send("POST", session, {
      id: 1,
      method: "tools/call",
      params: { name: "weather_1", arguments: { megabytes } },
    });
  return {
    call,
    callAll: (count: number, megabytes: number) =>
      Promise.all(Array.from({ length: count }, () => call(megabytes))),
    open: () => send("GET", session),
  };
}

async function readAll(answer: IncomingMessage): Promise<void> {
  let end = "";
  for await (const chunk of answer) end = (end + chunk).slice(-200);
  if (!end.includes("light wind")) throw new Error(`A result ended with ${end}`);
}

/** Fifty at a time: it is not the opening that is measured. */
async function inTurn<Made>(count: number, make: () => Promise<Made>): Promise<Made[]> {
  const made: Made[] = [];
  while (made.length < count)
    made.push(...(await Promise.all(Array.from({ length: Math.min(50, count - made.length) }, make))));
  return made;
}

/** The most that was seen meanwhile. */
async function mostUntil(subject: Subject, over: Promise<unknown>): Promise<number> {
  let isOver = false;
  void over.finally(() => {
    isOver = true;
  });
  let most = 0;
  while (!isOver) most = Math.max(most, await subject.memory());
  await over;
  return most;
}

/** Milliseconds of processor time in a second, while nobody asks for anything. */
async function idleMs(subject: Subject, seconds: number): Promise<number> {
  const before = await subject.cpu();
  await delay(seconds * 1_000);
  return ((await subject.cpu()) - before) / 1_000 / seconds;
}
