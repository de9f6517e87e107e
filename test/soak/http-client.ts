/** One HTTP request of the soak, and the turn it has to wait for: the rate is a promise to whoever shares the machine. */
import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";

export interface Reply {
  status: number;
  retryAfter: string | undefined;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: looks into answers of every shape
  body: any;
  /** `performance.now()` when it was sent. */
  sentAt: number;
}

export interface Post {
  url: string;
  method?: string;
  form?: Record<string, string>;
  json?: unknown;
  body?: string;
  headers?: Record<string, string>;
  /** Hangs up after so many milliseconds. */
  hangUpAfter?: number;
}

export class HungUp extends Error {}

// Shorter than the balancer keeps an idle connection (Node's 5 s): the other way round, one that is just being closed
// there would be used once more.
export const IDLE_MS = 3_000;
const ANSWER_MS = 30_000;

const agent = new Agent({ keepAlive: true, timeout: IDLE_MS });

/** @throws HungUp, or what broke the connection */
export async function send(post: Post): Promise<Reply> {
  const { url, form, json, headers, hangUpAfter } = post;
  const body = form ? new URLSearchParams(form).toString() : json ? JSON.stringify(json) : post.body;
  const type = form ? "application/x-www-form-urlencoded" : "application/json";
  const sentAt = performance.now();
  return await new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        agent,
        method: post.method ?? (body === undefined ? "GET" : "POST"),
        headers: { ...(body !== undefined && { "content-type": type }), ...headers },
      },
      (answer) => {
        text(answer).then(
          (read) =>
            settle(() =>
              resolve({
                status: answer.statusCode ?? 0,
                retryAfter: answer.headers["retry-after"],
                text: read,
                body: parsed(read),
                sentAt,
              }),
            ),
          (error) => settle(() => reject(error)),
        );
      },
    );
    const timer = setTimeout(
      () => {
        const problem = hangUpAfter === undefined ? new Error(`no answer in ${ANSWER_MS} ms`) : new HungUp();
        settle(() => reject(problem));
        sent.destroy();
      },
      Math.min(hangUpAfter ?? ANSWER_MS, ANSWER_MS),
    );
    const settle = (how: () => void): void => {
      clearTimeout(timer);
      how();
    };
    sent.on("error", (error) => settle(() => reject(error)));
    sent.end(body);
  });
}

/** JSON, or the last message of an event stream, or nothing. */
function parsed(read: string): unknown {
  const data = read.split("\n").findLast((line) => line.startsWith("data: "));
  try {
    return JSON.parse(data === undefined ? read : data.slice("data: ".length));
  } catch {
    return undefined;
  }
}

/** At most `perSecond`, evenly; time that was not used is not made up for. */
export function createPacer(perSecond: number) {
  const interval = 1000 / perSecond;
  let next = performance.now();
  return {
    async turn(): Promise<void> {
      const now = performance.now();
      const mine = Math.max(next, now);
      next = mine + interval;
      if (mine > now) await delay(mine - now);
    },
    /** For requests that were made without a turn, such as those that a redirect led to. */
    charge(requests: number): void {
      next = Math.max(next, performance.now()) + requests * interval;
    },
  };
}
