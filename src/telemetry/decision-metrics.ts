/** Counts the events of the audit log: decisions, calls, ends of sessions, codes that were issued. */
import type { Audit } from "../audit/audit.ts";
import type { Metrics } from "./metrics.ts";

export function countDecisions(metrics: Metrics): Audit {
  const { decisions, grantsEnded, signInSteps, calls } = metrics;
  return ({ event, decision, tool, resource, prompt, calls: count = 1, ...rest }) => {
    const reason = rest.reason ?? "";
    const { principalKind: principal = "" } = rest;
    decisions.inc({ event, decision, reason, principal }, count);
    const outcome = decision === "deny" ? "denied" : (rest.outcome ?? "ok");
    switch (event) {
      case "tool_call":
        return calls.inc({ kind: "tool", tool: tool ?? "", outcome, reason, principal }, count);
      case "resource_read":
        return calls.inc({ kind: "resource", tool: resource ?? "", outcome, reason, principal }, count);
      case "prompt_get":
        return calls.inc({ kind: "prompt", tool: prompt ?? "", outcome, reason, principal }, count);
      case "grant_ended":
        return grantsEnded.inc({ reason });
      case "consent":
        return signInSteps.inc({ step: "consent", outcome: decision === "allow" ? "ok" : "refused", reason });
      case "sign_in":
        if (decision === "allow") signInSteps.inc({ step: "code", outcome: "ok", reason });
    }
  };
}
