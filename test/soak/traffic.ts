/** What the clients of the soak do, in the proportions of real life: mostly calls. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { REDIRECT_URI, type Registered, type Tokens } from "../support/oauth-client.ts";
import { type Asked, ask, type Judgement, type Runtime, said } from "./good-client.ts";
import type { Post, Reply } from "./http-client.ts";
import { type SignedIn, signIn } from "./sign-in.ts";

interface Session {
  client: Registered;
  user: string;
  hasWeather: boolean;
  /** Refreshes before the token ends; other clients wait for the 401. */
  isEager: boolean;
  tokens: Tokens;
  /** `performance.now()` until which the access token is good for certain, and from which it certainly is not. */
  goodUntil: number;
  overAt: number;
  refreshing: Promise<void> | undefined;
  /** Lost, or ended on purpose. */
  ended: boolean;
}

type Refresh = "plain" | "twice at once" | "after a lost answer";

/** Counted by operation, not by request: a sign-in is many requests, and some repeat. */
const WEIGHTS = {
  call: 70,
  list: 8,
  refresh: 3,
  refreshTwice: 1.5,
  refreshLost: 1,
  introspect: 4,
  metadata: 3,
  badToken: 3,
  nonsense: 4,
  register: 0.5,
  arrive: 1,
  leave: 1,
};

const USERS = 40;
const FIRST_CLIENTS = 8;
const MOST_CLIENTS = 100;

export function createTraffic(sessionCount: number, around: Runtime) {
  const { deployment, ledger } = around;
  const { baseUrl } = deployment;
  const mcpUrl = `${baseUrl}/mcp`;
  const clients: Registered[] = [];
  const sessions = new Set<Session>();
  let stopped = false;

  async function register(): Promise<void> {
    const method = pick(["none", "none", "client_secret_post", "client_secret_basic"]);
    const { reply } = await ask(
      "register",
      () => ({
        url: `${baseUrl}/register`,
        json: { client_name: "Soak", redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: method },
      }),
      ({ status, body }) => (status === 201 && body?.client_id ? "served" : undefined),
      around,
    );
    if (reply?.status !== 201) return;
    ledger.counts.registrations++;
    clients.push(reply.body);
    if (clients.length > MOST_CLIENTS) clients.shift();
  }

  async function arrive(): Promise<void> {
    const client = pick(clients);
    const user = {
      name: `user-${Math.floor(Math.random() * USERS)}`,
      allowsWeather: chance(0.8),
      approves: chance(0.93),
    };
    const signedIn = await signIn(client, user, authentication, around);
    if (signedIn === undefined) return;
    const session: Session = {
      client,
      user: user.name,
      hasWeather: user.allowsWeather,
      isEager: chance(0.5),
      refreshing: undefined,
      ended: false,
      ...lifeOf(signedIn),
    };
    sessions.add(session);
  }

  function mcp(session: Session, method: string, params: object): Post {
    return {
      url: mcpUrl,
      json: { jsonrpc: "2.0", id: 1, method, params },
      headers: mcpHeaders(session.tokens.access_token),
    };
  }

  /** Sends it with the session's token, and once more with a new one if that had ended. */
  async function withToken(
    kind: string,
    session: Session,
    post: () => Post,
    judge: (reply: Reply) => Judgement,
  ): Promise<void> {
    if (session.isEager && performance.now() > session.goodUntil - 3_000) await refresh(session, "plain");
    for (let attempt = 1; attempt <= 2 && !session.ended; attempt++) {
      let used = session;
      const { reply } = await ask(
        kind,
        () => {
          used = { ...session };
          return post();
        },
        (answer) => {
          const mayBeOver = session.ended || performance.now() > used.goodUntil;
          if (answer.status === 401) return mayBeOver ? "refused" : undefined;
          if (answer.sentAt > used.overAt) return undefined; // a token that ended was accepted
          return judge(answer);
        },
        around,
      );
      if (reply?.status !== 401) return;
      // Somebody else of this client may have been quicker.
      if (session.tokens.access_token === used.tokens.access_token) await refresh(session, "plain");
    }
  }

  async function call(session: Session): Promise<void> {
    const tool = pick(["whoami", "whoami", "say_hello", "current_weather", "current_weather"]);
    const args = tool === "current_weather" ? { city: pick(["Berlin", "Tokyo", "Nairobi"]) } : {};
    await withToken(
      "tool call",
      session,
      () => mcp(session, "tools/call", { name: tool, arguments: args }),
      ({ status, body }) => {
        if (tool === "current_weather" && !session.hasWeather) return status === 403 ? "refused" : undefined;
        const result = body?.result;
        if (status !== 200 || result === undefined) return undefined;
        // A tool's word about somebody else's service, which on a busy machine may not answer.
        if (result.isError)
          return result.content[0]?.text.startsWith("The weather service cannot be reached")
            ? "interrupted"
            : undefined;
        if (tool === "say_hello") return "served";
        const { subject, requestedBy } = result.structuredContent ?? {};
        return (subject ?? requestedBy) === session.user ? "served" : undefined;
      },
    );
  }

  async function list(session: Session): Promise<void> {
    await withToken(
      "tools/list",
      session,
      () => mcp(session, "tools/list", {}),
      ({ status, body }) =>
        status === 200 && body?.result?.tools?.length === (session.hasWeather ? 3 : 2) ? "served" : undefined,
    );
  }

  /** One at a time for a session, as a good client does it; whoever comes meanwhile waits for that one. */
  function refresh(session: Session, how: Refresh): Promise<void> {
    session.refreshing ??= refreshed(session, how).finally(() => {
      session.refreshing = undefined;
    });
    return session.refreshing;
  }

  async function refreshed(session: Session, how: Refresh): Promise<void> {
    if (session.ended) return;
    const before = session.tokens.refresh_token;
    const ask = (first: () => Partial<Post> = () => ({})) => askRefresh(session, before, first);
    const answers: Asked[] = [];
    if (how === "after a lost answer") {
      const { reply } = await ask(() => ({ hangUpAfter: Math.random() * 20 }));
      // It may have come before that, and is no less lost.
      if (reply === undefined || reply.status === 200) ledger.counts.refreshesAfterALostAnswer++;
      answers.push(await ask());
    } else if (how === "twice at once") {
      ledger.counts.refreshesTwiceAtOnce++;
      answers.push(...(await Promise.all([ask(() => atReplica(0)), ask(() => atReplica(1))])));
    } else answers.push(await ask());
    if (session.ended) return;

    const good = answers.filter(({ reply }) => reply?.status === 200).map(({ reply }) => reply as Reply);
    const refusal = answers.find(({ reply }) => reply !== undefined && reply.status !== 200)?.reply;
    if (refusal !== undefined) {
      lose(session, `${how} refresh of ${session.user}: ${said(refusal)}`);
      return;
    }
    const [first] = good;
    if (first === undefined) return; // no answer at all: that is in the ledger, and the next attempt will tell
    if (new Set(good.map(({ body }) => body.refresh_token)).size !== 1)
      ledger.record("refresh", "unexpected", "two families from one refresh token");
    ledger.counts.refreshes++;
    Object.assign(session, lifeOf({ tokens: first.body, askedAt: first.sentAt }));
  }

  /** Past the balancer, while it has both in turn. */
  function atReplica(index: number): Partial<Post> {
    const { targets } = deployment.balancer;
    return targets.length < 2 ? {} : { url: `http://127.0.0.1:${targets[index]}/token` };
  }

  /** `first` is what is special about the first attempt. */
  function askRefresh(session: Session, token: string, first: () => Partial<Post>): Promise<Asked> {
    const { form, headers } = authentication(session.client);
    let attempts = 0;
    return ask(
      "refresh",
      () => ({
        url: `${baseUrl}/token`,
        headers,
        form: { grant_type: "refresh_token", refresh_token: token, ...form },
        ...(attempts++ === 0 && first()),
      }),
      ({ status, body }) =>
        status === 200 && body?.refresh_token ? "served" : session.ended ? "refused" : undefined,
      around,
    );
  }

  function lose(session: Session, what: string): void {
    session.ended = true;
    sessions.delete(session);
    ledger.lose(what);
  }

  async function introspect(session: Session): Promise<void> {
    const { client } = session;
    const isPublic = client.client_secret === undefined;
    const { form, headers } = authentication(client);
    let used = session;
    await ask(
      "introspect",
      () => {
        used = { ...session };
        return {
          url: `${baseUrl}/introspect`,
          headers,
          form: { token: session.tokens.access_token, ...form },
        };
      },
      ({ status, body }) => {
        if (isPublic) return status === 403 ? "refused" : undefined;
        const mayBeOver = session.ended || performance.now() > used.goodUntil;
        return status === 200 && (body?.active === true || (body?.active === false && mayBeOver))
          ? "served"
          : undefined;
      },
      around,
    );
  }

  /** Signs out, and sees to it that this meant something. */
  async function leave(session: Session): Promise<void> {
    await session.refreshing;
    if (session.ended) return;
    session.ended = true;
    sessions.delete(session);
    const { form, headers } = authentication(session.client);
    const mayBeOver = performance.now() > session.goodUntil - 1_000;
    const token = mayBeOver || chance(0.7) ? session.tokens.refresh_token : session.tokens.access_token;
    const { reply } = await ask(
      "revoke",
      () => ({ url: `${baseUrl}/revoke`, headers, form: { token, ...form } }),
      ({ status }) => (status === 200 ? "served" : undefined),
      around,
    );
    if (reply?.status !== 200) return;
    ledger.counts.revocations++;
    await delay(1_000);
    await refusedAtMcp("revoked token", session.tokens.access_token);
  }

  /** A replica that cannot ask the store goes by what it remembers (STORE_OUTAGE_SECONDS). */
  async function refusedAtMcp(kind: string, token: string | undefined): Promise<void> {
    await ask(
      kind,
      () => ({
        url: mcpUrl,
        json: { jsonrpc: "2.0", id: 1, method: "tools/list", params: {} },
        headers: mcpHeaders(token),
      }),
      ({ status }) => {
        if (status === 200 && kind === "revoked token" && deployment.isStoreDisturbed()) return "served";
        return status === 401 ? "refused" : undefined;
      },
      around,
    );
  }

  async function badToken(session?: Session): Promise<void> {
    const random = randomBytes(32).toString("base64url");
    const tokens = [undefined, random, `mcp_at_${random}`, `Bearer${random.repeat(5)}`];
    await refusedAtMcp(
      "bad token",
      pick(session === undefined ? tokens : [...tokens, session.tokens.refresh_token]),
    );
  }

  async function nonsense(): Promise<void> {
    const random = randomBytes(16).toString("hex");
    const { client_id } = pick(clients);
    const form = (path: string, fields: Record<string, string>): Post => ({
      url: `${baseUrl}${path}`,
      form: fields,
    });
    const post = pick<Post>([
      { url: `${baseUrl}/${random}` },
      { url: `${baseUrl}/token` },
      form("/token", { grant_type: random, client_id }),
      form("/token", { grant_type: "refresh_token", refresh_token: random, client_id: random }),
      form("/token", { grant_type: "refresh_token", refresh_token: `mcp_rt_${random}`, client_id }),
      form("/token", { grant_type: "authorization_code", code: random, code_verifier: random, client_id }),
      { url: `${baseUrl}/token`, json: { grant_type: random } },
      { url: `${baseUrl}/register`, json: { redirect_uris: ["javascript:alert(1)"] } },
      { url: `${baseUrl}/register`, body: "{" },
      { url: `${baseUrl}/authorize?client_id=${random}` },
      { url: `${baseUrl}/auth/callback?state=${random}&code=${random}` },
      form("/consent", { request: random, decision: "approve" }),
      { url: mcpUrl, body: random.repeat(3_000), headers: mcpHeaders(random) },
    ]);
    await ask(
      "nonsense",
      () => post,
      ({ status }) => (status >= 400 && status < 500 && status !== 429 ? "refused" : undefined),
      around,
    );
  }

  async function metadata(): Promise<void> {
    const path = pick(["oauth-authorization-server", "oauth-protected-resource/mcp"]);
    await ask(
      "metadata",
      () => ({ url: `${baseUrl}/.well-known/${path}` }),
      ({ status }) => (status === 200 ? "served" : undefined),
      around,
    );
  }

  async function operate(): Promise<void> {
    // A client that waits for its refresh does nothing else meanwhile.
    const idle = [...sessions].filter(({ refreshing }) => refreshing === undefined);
    const session = idle.length > 0 ? pick(idle) : undefined;
    if (session === undefined) return pick([metadata, nonsense, badToken])();
    const operation = weighted(WEIGHTS);
    switch (operation) {
      case "call":
        return call(session);
      case "list":
        return list(session);
      case "refresh":
        return refresh(session, "plain");
      case "refreshTwice":
        return refresh(session, "twice at once");
      case "refreshLost":
        return refresh(session, "after a lost answer");
      case "introspect":
        return introspect(session);
      case "badToken":
        return badToken(session);
      case "nonsense":
        return nonsense();
      case "metadata":
        return metadata();
      case "register":
        return register();
      // As many come as go.
      case "arrive":
        return sessions.size < sessionCount * 1.2 ? arrive() : leave(session);
      case "leave":
        return sessions.size > sessionCount * 0.8 ? leave(session) : arrive();
    }
  }

  return {
    sessions: sessions as ReadonlySet<unknown>,
    async begin(): Promise<void> {
      await Promise.all(Array.from({ length: FIRST_CLIENTS }, register));
      // A few at once: each is many requests, and the identity provider signs for each.
      const arriving = Array.from({ length: 4 }, async () => {
        while (sessions.size < sessionCount && !stopped) await arrive();
      });
      await Promise.all(arriving);
    },
    async run(workers: number): Promise<void> {
      await Promise.all(
        Array.from({ length: workers }, async () => {
          while (!stopped) await operate();
        }),
      );
    },
    stop(): void {
      stopped = true;
    },
    /** Every session that was not ended must still be good for a refresh and a call. */
    async rollCall(): Promise<number> {
      const waiting = [...sessions];
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
            await refresh(next, "plain");
            await list(next);
          }
        }),
      );
      return sessions.size;
    },
  };
}

/** RFC 6749 §2.3.1: whichever way the client registered. */
function authentication({ client_id, client_secret, token_endpoint_auth_method: method }: Registered): {
  form: Record<string, string>;
  headers: Record<string, string>;
} {
  if (client_secret === undefined) return { form: { client_id }, headers: {} };
  if (method === "client_secret_post") return { form: { client_id, client_secret }, headers: {} };
  const credentials = Buffer.from(`${client_id}:${client_secret}`).toString("base64");
  return { form: {}, headers: { authorization: `Basic ${credentials}` } };
}

/** `expires_in` is in whole seconds, of a moment between the question and its answer. */
function lifeOf({ tokens, askedAt }: SignedIn): Pick<Session, "tokens" | "goodUntil" | "overAt"> {
  const life = tokens.expires_in * 1000;
  return { tokens, goodUntil: askedAt + life - 1_000, overAt: performance.now() + life + 1_000 };
}

export function mcpHeaders(token: string | undefined): Record<string, string> {
  return {
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": "2025-06-18",
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
}

function chance(probability: number): boolean {
  return Math.random() < probability;
}

function pick<T>(from: readonly T[]): T {
  return from[Math.floor(Math.random() * from.length)] as T;
}

function weighted<Name extends string>(weights: Record<Name, number>): Name {
  const entries = Object.entries(weights) as Array<[Name, number]>;
  let left = Math.random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries[0]?.[0] as Name;
}
