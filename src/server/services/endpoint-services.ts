/** What the MCP endpoints of all resources share: their calls, questions and cancellations, and the memory for what they are sent. */
import { getHeapStatistics } from "node:v8";
import type { Audit } from "../../audit/audit.ts";
import type { StepUps } from "../../grants/step-ups.ts";
import { type Bodies, largestShare } from "../../http/body.ts";
import { createBodyBudget } from "../../http/body-budget.ts";
import { createCancellations } from "../../mcp/server/cancellations.ts";
import { ChosenLogLevel, createLogLevels } from "../../mcp/server/log-level.ts";
import { requestStates } from "../../mcp/server/request-state.ts";
import { createRunningCalls } from "../../mcp/server/running-calls.ts";
import { createServerRequests, StoredServerRequest } from "../../mcp/server/server-requests.ts";
import { sessionIds } from "../../mcp/server/session-id.ts";
import { encryptedStore } from "../../storage/encrypted.ts";
import type { Foundation } from "./foundation.ts";

export function endpointServices(
  { config, runtime, shutdown, records, sealer, storing, users }: Foundation,
  { audit, stepUps }: { audit: Audit; stepUps: StepUps },
) {
  const { now, log } = runtime;
  const bodies = boundsOfBodies(config.maxRequestBytes, getHeapStatistics().heap_size_limit);
  const endpoint = {
    listAll: config.listed === "all",
    auditArguments: config.audit.arguments,
    bodies: bodies.ofCallers,
    audit,
    log,
    calls: createRunningCalls({ ...config.runningCalls, records, audit, now }),
    serverRequests: createServerRequests({
      ...runtime,
      store: encryptedStore({ ...storing, kind: "question", schema: StoredServerRequest }),
      records,
      onShutdown: shutdown.onShutdown,
    }),
    cancellations: createCancellations(records),
    logLevels: createLogLevels(encryptedStore({ ...storing, kind: "log-level", schema: ChosenLogLevel })),
    states: requestStates(sealer, now),
    sessionIds: sessionIds(sealer, users),
    mayChallenge: stepUps.mayChallenge,
  };
  return { bodies, endpoint };
}

/**
 * The memory for request bodies follows from the size of the heap (`--max-old-space-size`, or Node's default). Strangers have a
 * budget of their own, so that they cannot use up that of callers with a token.
 */
function boundsOfBodies(maxRequestBytes: number, heapBytes: number): Bodies {
  const largest = largestShare(maxRequestBytes);
  const total = Math.max(heapBytes / 4, largest);
  // A session may have several large bodies in flight, and a share is left for others.
  const perHolder = Math.max(Math.min(2 * largest, total / 4), largest);
  return {
    ofCallers: { maxBytes: maxRequestBytes, budget: createBodyBudget({ total, perHolder }) },
    ofStrangers: { maxBytes: 65_536, budget: createBodyBudget({ total: heapBytes / 16 }) },
  };
}
