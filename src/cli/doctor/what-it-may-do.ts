/** What a token permits now, as far as the doctor can tell: its scopes and tools, and claims that may say more than is read. */
import { shapeProblem } from "../../access/claims.ts";
import { claimsOf } from "../../access/principal.ts";
import { decidingClaims } from "../../identity/bounded-claims.ts";
import type { Caller } from "../../resource/caller.ts";
import type { McpResource } from "../../server/resources.ts";
import type { Services } from "../../server/services.ts";
import { checkOf, type Finding } from "./finding.ts";

/** Roles and groups that nobody can read look like none. */
function oddClaims(
  { principal }: Pick<Bearer, "principal">,
  { permissions }: McpResource,
  config: Services["config"],
): Finding[] {
  return decidingClaims(permissions, config.identityProviders).flatMap((path) => {
    const problem = shapeProblem(claimsOf(principal), path);
    return problem === undefined
      ? []
      : [
          checkOf("token.claims").warning(
            `The claim ${path} of its user may say more than is read of it: ${problem}`,
            "If it holds several names, have the provider send a list of texts, then let the client sign in again.",
          ),
        ];
  });
}

type Bearer = Pick<Caller, "principal" | "scopes" | "permissions">;

export function whatItMayDo(token: Bearer, resource: McpResource, config: Services["config"]): Finding[] {
  const scopes = `Its scopes now: ${token.scopes.join(" ") || "none"}`;
  const tools = resource.features.tools.map((tool) => {
    const decision = token.permissions.checkFeature(tool);
    const { ok, warning } = checkOf(`token.tool.${tool.name}`);
    if (decision.allowed) return ok(`It may use ${tool.name}`);
    if (decision.because === "policy")
      return warning(
        `It may not use ${tool.name}: the policy denies it, by the rule "${decision.rule.name}"`,
        "Change the rule in POLICY_FILE if that is wrong.",
      );
    return warning(
      `It may not use ${tool.name}: it lacks ${decision.missing.join(" ")}`,
      "The client can ask for it with a new sign-in; it is given if the provider says that the user has it (SCOPES_FROM).",
    );
  });
  return [checkOf("token.scopes").ok(scopes), ...oddClaims(token, resource, config), ...tools];
}
