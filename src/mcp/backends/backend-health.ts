/** Whether a backend over HTTP answers: for /readyz, where its operator wants that, and for the doctor. */
import type { Log } from "../../runtime/log.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { BackendError } from "./backend.ts";
import type { HttpReach } from "./backend-settings.ts";
import { problemOf } from "./http-backend.ts";

export interface BackendHealth {
  /** Of the backend. */
  readonly name: string;
  /** Within two seconds. */
  answers(): Promise<boolean>;
}

const ASK_MS = 2_000;
/** However often /readyz is asked: strangers can do that, too. */
const KEPT_SECONDS = 5;

/** @throws BackendError if it does not answer, or says by 500 or more that it cannot */
export async function askBackend(url: string, headers: HttpReach["headers"]): Promise<number> {
  const { request } = await import("undici");
  const { statusCode: status, body } = await request(url, {
    headers: { accept: "application/json, text/event-stream", ...headers },
    signal: AbortSignal.timeout(ASK_MS),
  }).catch((error: unknown) => {
    throw problemOf(error);
  });
  body.on("error", () => {}).destroy();
  if (status >= 500) throw new BackendError("backend_answer_unusable", `It answered ${status}.`);
  return status;
}

/** Asked by as many as like, the backend is asked once in five seconds. A change is said in the log. */
export function backendHealth({
  name,
  health,
  headers,
  monotonicNow,
  log,
}: Required<Pick<Runtime, "monotonicNow">> &
  Pick<HttpReach, "headers"> & { name: string; health: string; log: Log }): BackendHealth {
  let kept: { until: number; answers: Promise<boolean> } | undefined;
  let isLost = false;

  async function ask(): Promise<boolean> {
    const problem = await askBackend(health, headers).then(
      () => undefined,
      (error: Error) => error.message.slice(0, 500),
    );
    if (problem !== undefined && !isLost)
      log.warn({ reason: "backend_not_ready", backend: name, cause: problem }, "A backend is not ready");
    if (problem === undefined && isLost) log.info({ backend: name }, "A backend is ready again");
    isLost = problem !== undefined;
    return !isLost;
  }

  return {
    name,
    answers() {
      const now = monotonicNow();
      if (kept === undefined || now >= kept.until) kept = { until: now + KEPT_SECONDS, answers: ask() };
      return kept.answers;
    },
  };
}
