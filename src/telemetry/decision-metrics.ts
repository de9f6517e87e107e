/** Counts the events of the audit log: decisions, calls, ends of sessions, codes that were issued. */
import type { Audit } from "../audit/audit.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { type LabelledResource, resourceLabels } from "./labels.ts";
import type { Metrics } from "./metrics.ts";

/** @param resources that this server has: what is decided about another has the label of none of them */
export function countDecisions(metrics: Metrics, resources: readonly LabelledResource[]): Audit {
  const { decisions, grantsEnded, signInSteps, calls } = metrics;
  const labelOf = resourceLabels(resources);
  // Prometheus sees no increase in a series that begins with 1, so the first theft would raise no alarm.
  for (const { path } of resources)
    for (const reason of ["code_replayed", "refresh_token_reused"] satisfies ReasonCode[])
      grantsEnded.inc({ reason, protected_resource: path }, 0);
  return ({ event, decision, entry, calls: count = 1, ...rest }) => {
    // Below a pattern clients make up names as they like; the operator's entries are as many as they wrote.
    const {
      tool = "",
      resource = "",
      prompt = "",
    } = entry === undefined ? rest : { tool: entry, resource: entry, prompt: entry };
    const reason = rest.reason ?? "";
    const { principalKind: principal = "" } = rest;
    const protected_resource = labelOf(rest.protectedResource);
    decisions.inc({ event, decision, reason, principal, protected_resource }, count);
    const outcome = decision === "deny" ? "denied" : (rest.outcome ?? "ok");
    const called = (kind: string, name: string) =>
      calls.inc({ kind, tool: name, outcome, reason, principal, protected_resource }, count);
    switch (event) {
      case "tool_call":
        return called("tool", tool);
      case "resource_read":
        return called("resource", resource);
      case "prompt_get":
        return called("prompt", prompt);
      case "grant_ended":
        return grantsEnded.inc({ reason, protected_resource });
      case "consent":
        return signInSteps.inc({ step: "consent", outcome: decision === "allow" ? "ok" : "refused", reason });
      case "sign_in":
        if (decision === "allow") signInSteps.inc({ step: "code", outcome: "ok", reason });
    }
  };
}
