/** The features of a small server, and the policies and users of the tests of src/access. */
import { createPolicy, type Policy } from "../../src/access/policy.ts";
import { type KnownNames, PolicyError, parsePolicy } from "../../src/access/policy-file.ts";
import type { Requester } from "../../src/access/principal.ts";
import { inOneLine } from "../../src/runtime/setting-problem.ts";
import { type Asks, requesterOf } from "../support/requester.ts";

export const known: KnownNames = {
  scopes: ["orders:read", "orders:write", "weather:read"],
  tools: ["list_orders", "delete_order", "get_weather"],
  resources: ["weather://codes"],
  prompts: ["what_to_wear"],
  protectedResources: ["/mcp", "/crm/mcp", "/crm/admin/mcp"],
};

export function policyOf(yaml: string): Policy {
  return createPolicy(parsePolicy(yaml, "policy.yaml", known));
}

/** What is wrong with a file, a problem each. */
export function problemsOf(yaml: string): readonly string[] {
  try {
    parsePolicy(yaml, "policy.yaml", known);
  } catch (error) {
    if (error instanceof PolicyError) return error.problems.map(inOneLine);
    throw error;
  }
  return [];
}

/** Ada of the staff, through Claude. */
export function requester(different: Partial<Asks> = {}): Requester {
  return requesterOf({
    subject: "auth0|ada",
    claims: {
      email: "ada@example.com",
      email_verified: true,
      groups: ["staff", "sales"],
      org_id: "org_1",
    },
    clientId: "claude",
    redirectUri: "https://claude.ai/api/mcp/auth_callback",
    ...different,
  });
}
