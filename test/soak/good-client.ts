/** Sends requests as a good client does: waits for `Retry-After`, and repeats a request whose process died. */
import { setTimeout as delay } from "node:timers/promises";
import type { Deployment } from "./deployment.ts";
import { type createPacer, HungUp, type Post, type Reply, send } from "./http-client.ts";
import type { Ledger } from "./ledger.ts";

export interface Asked {
  /** Absent when there was none, whatever was tried; that is in the ledger. */
  reply: Reply | undefined;
  /** An earlier attempt may have been carried out, and its answer lost. */
  disturbed: boolean;
}

export interface Runtime {
  deployment: Deployment;
  ledger: Ledger;
  pacer: ReturnType<typeof createPacer>;
}

/** Whether an answer is what the protocol asks for; undefined: no. */
export type Judgement = "served" | "refused" | "interrupted" | undefined;

const PATIENCE_MS = 120_000;
const REPEAT_MS = 200;

/**
 * Repeats until there is an answer that is neither "wait" nor a broken connection, and writes down every attempt.
 * `judge` is called once, with that answer.
 */
export async function ask(
  kind: string,
  post: () => Post,
  judge: (reply: Reply) => Judgement,
  { deployment, ledger, pacer }: Runtime,
): Promise<Asked> {
  const begun = performance.now();
  for (let disturbed = false; ; disturbed = true) {
    await pacer.turn();
    const tried = post();
    const reply = await send(tried).catch((error: unknown) =>
      error instanceof Error ? error : new Error(String(error)),
    );
    if (reply instanceof HungUp) {
      ledger.record(kind, "hung up");
      return { reply: undefined, disturbed: true };
    }
    if (deployment.isClosed()) return { reply: undefined, disturbed: true };
    const wait = reply instanceof Error ? REPEAT_MS : toldToWait(reply);
    if (wait === undefined) {
      const judgement = judge(reply as Reply);
      ledger.record(kind, judgement ?? "unexpected", said(reply));
      return { reply: reply as Reply, disturbed };
    }
    if (!isBroken(reply)) ledger.record(kind, "told to wait");
    else ledger.record(kind, deployment.isKilling() ? "interrupted" : "unexpected", said(reply));
    if (performance.now() - begun > PATIENCE_MS) {
      ledger.record(kind, "unexpected", `no other answer for ${PATIENCE_MS / 1000} s: ${said(reply)}`);
      return { reply: undefined, disturbed: true };
    }
    // Not all at the same moment.
    await delay(wait * (1 + Math.random() / 5));
  }
}

/** Milliseconds, if the answer means "come back later". */
export function toldToWait(
  reply: Pick<Reply, "status" | "text"> & { retryAfter: string | undefined },
): number | undefined {
  if (isBroken(reply)) return REPEAT_MS;
  if (reply.status !== 503 || !/^\d+$/.test(reply.retryAfter ?? "")) return undefined;
  return Number(reply.retryAfter) * 1000;
}

/** There was no server, or it went away. The servers themselves never answer 502. */
export function isBroken(reply: Error | Pick<Reply, "status">): boolean {
  return reply instanceof Error || reply.status === 502;
}

export function said(reply: Error | Pick<Reply, "status" | "text">): string {
  return reply instanceof Error
    ? `${reply.name}: ${reply.message} ${(reply as NodeJS.ErrnoException).code ?? ""}`
    : `${reply.status} ${reply.text.replaceAll(/\s+/g, " ")}`;
}
