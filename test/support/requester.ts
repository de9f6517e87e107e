/** Who asks the policy, for tests: a user of one provider, through one client. */
import { claimsOf, type Requester } from "../../src/access/principal.ts";

export interface Asks {
  subject: string;
  claims: Record<string, unknown>;
  clientId: string;
  redirectUri: string;
}

export function requesterOf(different: Partial<Asks> = {}): Requester {
  const { subject = "s", claims = {}, clientId = "c", redirectUri = "https://c.example/" } = different;
  return {
    principal: { kind: "user", issuer: "https://idp.example", subject, claims },
    client: { id: clientId, redirectUri },
  };
}

/** What the provider said of the user of a grant. */
export function claimsIn(grant: Requester | undefined): Readonly<Record<string, unknown>> {
  return grant === undefined ? {} : claimsOf(grant.principal);
}
