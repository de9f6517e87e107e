/**
 * Several backends behind one resource: what one of them is asked goes to that one, lists are those of all, and one that is down
 * leaves the others. A client has one session, which names that of each, so that any replica serves it.
 */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { parseJson } from "../../oauth/json.ts";
import { withValue } from "../../runtime/json-text.ts";
import type { Log } from "../../runtime/log.ts";
import { packageManifest } from "../../runtime/package.ts";
import type { Message } from "../authoring/features.ts";
import { drop } from "./answer-body.ts";
import { type Backend, type BackendAnswer, BackendError, type BackendRequest } from "./backend.ts";
import { nameInLog } from "./backend-settings.ts";
import { renamed } from "./merged-answers.ts";
import { joined, parted, prefixed, unprefixed } from "./merged-names.ts";
import { answerIn, capabilitiesOfAll, introductionIn, pageIn } from "./merged-parts.ts";
import { streamOfAll } from "./merged-streams.ts";
import {
  empty,
  INVALID_PARAMS,
  isOfOtherGeneration,
  json,
  METHOD_NOT_FOUND,
  REFUSED,
  refusal,
  unsupportedVersion,
  type WrittenRequest,
  withoutId,
} from "./own-answers.ts";
import { createTroubleLog } from "./trouble-log.ts";

export interface MergedBackendOptions {
  /** In the log … */
  name: string;
  /** … and for people. */
  title: string;
  servers: ReadonlyMap<string, Backend>;
  maxAnswerBytes: number;
  log: Log;
  /** Seconds, by a clock that nobody sets. */
  now(): number;
}

/** How long one may keep the others waiting … */
const TOGETHER_MS = 10_000;
/** … and who says something that nobody answers. */
const TELL_MS = 1_000;
const SESSION_ID = "mcp-session-id";

interface MergedList {
  list: string;
  by: string;
  kind: "name" | "uri";
}

/** The lists that are put together: which member of the result it is, and which of an entry's members names it. */
const LISTS: ReadonlyMap<unknown, MergedList> = new Map<unknown, MergedList>([
  ["tools/list", { list: "tools", by: "name", kind: "name" }],
  ["prompts/list", { list: "prompts", by: "name", kind: "name" }],
  ["resources/list", { list: "resources", by: "uri", kind: "uri" }],
  ["resources/templates/list", { list: "resourceTemplates", by: "uriTemplate", kind: "uri" }],
]);

/** Where a message names what it uses. */
function usedIn({ method, params }: Message): {
  path: readonly string[];
  kind: "name" | "uri";
  value: unknown;
} {
  if (method !== "completion/complete") {
    const by = method === "tools/call" || method === "prompts/get" ? "name" : "uri";
    return { path: ["params", by], kind: by, value: params?.[by] };
  }
  const ref = (params?.ref ?? {}) as { type?: unknown; name?: unknown; uri?: unknown };
  const by = ref.type === "ref/prompt" ? "name" : "uri";
  return { path: ["params", "ref", by], kind: by, value: ref[by] };
}

/** What a client says to all servers. */
const TO_ALL: ReadonlySet<unknown> = new Set([
  "notifications/initialized",
  "notifications/roots/list_changed",
]);
/** What one server is asked, by the name of what it has. */
const TO_ONE: ReadonlySet<unknown> = new Set([
  "tools/call",
  "prompts/get",
  "resources/read",
  "resources/subscribe",
  "resources/unsubscribe",
  "completion/complete",
]);

/** One of the servers, in a client's session. */
interface Member {
  readonly server: string;
  readonly backend: Backend;
  /** Its own. Null: it has none. */
  readonly session: string | null;
}

/** In none the ids of calls and questions are anybody's: one client would cancel another's call, or answer their question. */
function isInSession({ session }: Member): boolean {
  return session !== null;
}

/** MCP, Streamable HTTP, session management. */
function hasLostSession({ status }: BackendAnswer, member: Member): boolean {
  return status === 404 && isInSession(member);
}

export function mergedBackend(options: MergedBackendOptions): Backend {
  const { name, title, servers, maxAnswerBytes, log, now } = options;
  const troubles = new Map(
    [...servers.keys()].map((server) => {
      return [server, createTroubleLog({ backend: nameInLog(name, server), log, now })] as const;
    }),
  );
  return {
    name,
    servers,
    async send(request) {
      const members = membersOf(request.headers[SESSION_ID]);
      if (request.method === "GET") return streamTo(request, members);
      if (request.method === "DELETE") {
        await tell(members.filter(isInSession), request);
        return empty(204);
      }
      const text = Buffer.from(request.body ?? [])
        .toString("utf8")
        .trim();
      const message = parseJson(text) as Message | Message[];
      if (Array.isArray(message)) return withoutId(400, REFUSED, "Send one message at a time.");
      return answerTo({ text, message }, members, request);
    },
    close: async () => void (await Promise.all([...servers.values()].map((backend) => backend.close()))),
  };

  async function answerTo(
    written: WrittenRequest,
    members: readonly Member[],
    request: BackendRequest,
  ): Promise<BackendAnswer> {
    const { method, id } = written.message;
    if (method === undefined) return passAnswer(written, members, request);
    if (id === undefined) {
      if (TO_ALL.has(method)) await soon(tell(members, request));
      if (method === "notifications/cancelled") await soon(tell(members.filter(isInSession), request));
      return empty(202);
    }
    if (isOfOtherGeneration(request, written.message)) return unsupportedVersion(written, request);
    if (method === "initialize") return introduce(written, request);
    if (method === "logging/setLevel") await tell(members, request);
    if (method === "logging/setLevel" || method === "ping") return json(200, written, '"result":{}');
    if (LISTS.has(method)) return listOfAll(written, members, request);
    if (TO_ONE.has(method)) return askOne(written, members, request);
    return json(
      200,
      written,
      refusal(METHOD_NOT_FOUND, "The servers behind this one cannot be asked that here."),
    );
  }

  /** Who is in the session; without one, all. */
  function membersOf(session: string | undefined): Member[] {
    const sessions = session === undefined ? undefined : (parted(session) ?? {});
    return [...servers].flatMap(([server, backend]) => {
      if (sessions === undefined) return [{ server, backend, session: null }];
      const own = Object.hasOwn(sessions, server) ? sessions[server] : undefined;
      return own === undefined ? [] : [{ server, backend, session: own }];
    });
  }

  function send(
    { backend, session }: Member,
    { headers, ...request }: BackendRequest,
  ): Promise<BackendAnswer> {
    const { [SESSION_ID]: _session, "mcp-name": _name, ...others } = headers;
    return backend.send({
      ...request,
      headers: { ...others, ...(session !== null && { [SESSION_ID]: session }) },
    });
  }

  /**
   * Each server's part of an answer. One that has none within {@link TOGETHER_MS} is left out.
   * @throws the first error if all have none
   */
  async function together<Part>(
    members: readonly Member[],
    requestFor: (member: Member) => BackendRequest,
    partOf: (answer: BackendAnswer, member: Member) => Promise<Part>,
  ): Promise<Part[]> {
    const errors: unknown[] = [];
    const parts = await Promise.all(
      members.map(async (member) => {
        const { signal, over } = withinTime(requestFor(member).signal);
        try {
          const answer = send(member, { ...requestFor(member), signal });
          const part = await unlessAborted(
            answer.then((each) => partOf(each, member)),
            signal,
          );
          troubles.get(member.server)?.answered();
          return [part];
        } catch (error) {
          errors.push(error);
          if (error instanceof BackendError) troubles.get(member.server)?.failed(error);
          return [];
        } finally {
          over();
        }
      }),
    );
    if (members.length > 0 && errors.length === members.length) throw errors[0];
    return parts.flat();
  }

  /** For what nobody waits for. */
  async function tell(members: readonly Member[], request: BackendRequest): Promise<void> {
    const read = async ({ body }: BackendAnswer) => drop(body);
    await together(members, () => request, read).catch(() => {}); // logged
  }

  async function introduce(written: WrittenRequest, request: BackendRequest): Promise<BackendAnswer> {
    const known = await together(
      membersOf(undefined),
      () => request,
      async (answer, { server }) => ({
        server,
        session: answer.headers[SESSION_ID] ?? null,
        ...introductionIn(await answerIn(answer, written.message.id, maxAnswerBytes)),
      }),
    );
    const { version } = packageManifest();
    const instructions = known.flatMap((each) =>
      each.instructions === undefined ? [] : [`${each.server}: ${each.instructions}`],
    );
    const result = {
      // The oldest, which all of them understand: a client says it to all.
      protocolVersion: known.map(({ protocolVersion }) => protocolVersion).sort()[0],
      capabilities: capabilitiesOfAll(known.map(({ capabilities }) => capabilities)),
      serverInfo: { name: title, version },
      ...(instructions.length > 0 && { instructions: instructions.join("\n\n") }),
    };
    const answer = json(200, written, `"result":${JSON.stringify(result)}`);
    const session = joined(Object.fromEntries(known.map(({ server, session }) => [server, session])));
    return { ...answer, headers: { ...answer.headers, [SESSION_ID]: session } };
  }

  /** A page of each server that has more. */
  async function listOfAll(
    written: WrittenRequest,
    members: readonly Member[],
    request: BackendRequest,
  ): Promise<BackendAnswer> {
    const { id, method, params } = written.message;
    const { list, by, kind } = LISTS.get(method) as MergedList;
    const cursors = typeof params?.cursor === "string" ? parted(params.cursor) : undefined;
    if (cursors === undefined && params?.cursor !== undefined)
      return json(200, written, refusal(INVALID_PARAMS, "This cursor is none of this server's."));
    const found = await together(
      members.filter(({ server }) => cursors === undefined || typeof cursors[server] === "string"),
      ({ server }) => {
        const cursor = cursors?.[server];
        // Its client's id: no other request in the session has it, whatever else is asked at once.
        const page = { jsonrpc: "2.0", id, method, params: cursor === undefined ? {} : { cursor } };
        return { ...request, body: Buffer.from(JSON.stringify(page)) };
      },
      async (answer, member) => {
        if (hasLostSession(answer, member)) {
          drop(answer.body);
          return undefined;
        }
        const { server } = member;
        return { server, ...pageIn(await answerIn(answer, id, maxAnswerBytes), list, by) };
      },
    );
    const pages = found.filter((page) => page !== undefined);
    // Nobody would look for what is missing in the list.
    if (pages.length < found.length)
      return json(
        404,
        written,
        refusal(REFUSED, "One of the servers has lost its part of this session: initialize a new one."),
      );
    const entries = pages.flatMap(({ server, entries }) =>
      entries.map(({ text, named }) => withValue(text, [by], JSON.stringify(prefixed(kind, server, named)))),
    );
    const following = pages.flatMap(({ server, next }) =>
      next === undefined ? [] : [[server, next] as const],
    );
    const next = following.length > 0 ? `,"nextCursor":"${joined(Object.fromEntries(following))}"` : "";
    return json(200, written, `"result":{"${list}":[${entries.join(",")}]${next}}`);
  }

  async function askOne(
    written: WrittenRequest,
    members: readonly Member[],
    request: BackendRequest,
  ): Promise<BackendAnswer> {
    const { path, kind, value } = usedIn(written.message);
    const used = unprefixed(kind, value);
    if (used === undefined || !servers.has(used.server))
      return json(200, written, refusal(INVALID_PARAMS, "No server here has that."));
    const member = memberOf(used.server, members);
    const body = Buffer.from(withValue(written.text, path, JSON.stringify(used.value)));
    return renamed(await send(member, { ...request, body }), used.server, maxAnswerBytes);
  }

  /** What one of the servers asked the client. */
  async function passAnswer(
    { text, message }: WrittenRequest,
    members: readonly Member[],
    request: BackendRequest,
  ): Promise<BackendAnswer> {
    const asked = unprefixed("id", message.id);
    const id = asked && parseJson(asked.value);
    if (asked === undefined || !servers.has(asked.server) || !/^(string|number)$/.test(typeof id))
      return withoutId(400, REFUSED, "Nobody waits for this answer.");
    const member = memberOf(asked.server, members);
    if (!isInSession(member)) return withoutId(400, REFUSED, "Nobody waits for this answer.");
    const body = Buffer.from(withValue(text, ["id"], asked.value));
    return renamed(await send(member, { ...request, body }), asked.server, maxAnswerBytes);
  }

  function memberOf(server: string, members: readonly Member[]): Member {
    const member = members.find((each) => each.server === server);
    if (member === undefined)
      throw new BackendError("backend_unreachable", `${server} was out of reach when this session began.`);
    return member;
  }

  /** What the servers say by themselves, or what a client missed of one of them and that one goes on with. */
  function streamTo(request: BackendRequest, members: readonly Member[]): Promise<BackendAnswer> {
    const { "last-event-id": last, ...headers } = request.headers;
    const missed = unprefixed("id", last);
    const open = (member: Member) => (signal: AbortSignal) => {
      const resumed = missed?.server === member.server && { "last-event-id": missed.value };
      return send(member, { ...request, signal, headers: { ...headers, ...resumed } });
    };
    const each = members.filter(isInSession).map((member) => [member.server, open(member)] as const);
    return streamOfAll(new Map(each), maxAnswerBytes, request.signal);
  }
}

/** The client's signal, and a time that one of several servers has. */
function withinTime(signal: AbortSignal): { signal: AbortSignal; over(): void } {
  const late = new AbortController();
  const error = new BackendError(
    "backend_too_slow",
    `It kept the others waiting for ${TOGETHER_MS / 1_000} s.`,
  );
  const timer = setTimeout(() => late.abort(error), TOGETHER_MS);
  return { signal: AbortSignal.any([signal, late.signal]), over: () => clearTimeout(timer) };
}

/** What is left goes on: whoever said it waits no longer for a server that hangs. */
async function soon(work: Promise<void>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, delay(TELL_MS, undefined, { signal: over.signal }).catch(() => {})]);
  over.abort();
}

/** Not every backend hears of the signal while it starts. */
function unlessAborted<Value>(value: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const over = new AbortController();
  const aborted = once(signal, "abort", { signal: over.signal }).then(() => {
    throw signal.reason;
  });
  aborted.catch(() => {});
  return Promise.race([value, aborted]).finally(() => over.abort());
}
