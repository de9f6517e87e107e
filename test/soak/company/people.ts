/** What one person's client does when they come: signs them in or renews their session, and calls tools. */
import { setTimeout as delay } from "node:timers/promises";
import type { Registered } from "../../support/oauth-client.ts";
import { ask, type Runtime, said } from "../good-client.ts";
import { signIn } from "../sign-in.ts";
import { mcpHeaders } from "../traffic.ts";
import type { Latencies } from "./latencies.ts";

export interface Session {
  user: string;
  accessToken: string;
  refreshToken: string;
}

export interface Around extends Runtime {
  client: Registered;
  latencies: Latencies;
}

/** Half of the people call a second tool, some time later. */
const COMES_AGAIN = 0.5;
const AGAIN_WITHIN_MS = 10_000;

/** @param dueAt `performance.now()` at which they wanted to */
export async function visit(session: Session, dueAt: number, around: Around): Promise<void> {
  if (!(await timed("refresh", dueAt, () => refresh(session, around), around))) return;
  await use(session, around);
}

/** @returns the new session; undefined if it did not come about, which the ledger has then */
export async function comeForTheFirstTime(
  user: string,
  dueAt: number,
  around: Around,
): Promise<Session | undefined> {
  const { client } = around;
  const authentication = () => ({ form: { client_id: client.client_id }, headers: {} });
  const person = { name: user, allowsWeather: true, approves: true };
  const signedIn = await timed(
    "sign-in",
    dueAt,
    () => signIn(client, person, authentication, around),
    around,
  );
  if (signedIn === undefined) return undefined;
  const { access_token: accessToken, refresh_token: refreshToken } = signedIn.tokens;
  const session = { user, accessToken, refreshToken };
  await use(session, around);
  return session;
}

async function use(session: Session, around: Around): Promise<void> {
  await timed("tool call", performance.now(), () => call(session, around), around);
  if (Math.random() > COMES_AGAIN) return;
  await delay(Math.random() * AGAIN_WITHIN_MS);
  await timed("tool call", performance.now(), () => call(session, around), around);
}

/** @returns whether there are new tokens */
export async function refresh(session: Session, around: Around): Promise<boolean> {
  const { client, deployment, ledger } = around;
  const form = {
    grant_type: "refresh_token",
    refresh_token: session.refreshToken,
    client_id: client.client_id,
  };
  const { reply } = await ask(
    "refresh",
    () => ({ url: `${deployment.baseUrl}/token`, form }),
    ({ status, body }) => (status === 200 && body?.refresh_token ? "served" : undefined),
    around,
  );
  if (reply === undefined) return false;
  if (reply.status !== 200) {
    ledger.lose(`refresh of ${session.user}: ${said(reply)}`);
    return false;
  }
  ledger.counts.refreshes++;
  session.accessToken = reply.body.access_token;
  session.refreshToken = reply.body.refresh_token;
  return true;
}

/** A token that was written to a master and did not reach its replica is refused after a failover: then it is renewed. */
export async function call(session: Session, around: Around): Promise<void> {
  const { deployment } = around;
  for (let attempt = 1; attempt <= 2; attempt++) {
    const { reply } = await ask(
      "tool call",
      () => ({
        url: `${deployment.baseUrl}/mcp`,
        json: { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "whoami", arguments: {} } },
        headers: mcpHeaders(session.accessToken),
      }),
      ({ status, body }) => {
        if (status === 401 && deployment.isStoreDisturbed()) return "refused";
        return status === 200 && body?.result?.structuredContent?.subject === session.user
          ? "served"
          : undefined;
      },
      around,
    );
    if (reply?.status !== 401 || !(await refresh(session, around))) return;
  }
}

async function timed<T>(
  kind: string,
  dueAt: number,
  action: () => Promise<T>,
  { ledger, latencies }: Around,
): Promise<T> {
  const during = ledger.phases.at(-1)?.name ?? "";
  const result = await action();
  latencies.record(kind, during, performance.now() - dueAt);
  return result;
}
