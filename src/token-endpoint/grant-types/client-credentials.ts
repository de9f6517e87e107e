/**
 * grant_type=client_credentials: a client that the operator configured acts for itself (RFC 6749 §4.4). Its principal is the
 * client, in a namespace of its own: it never equals a user.
 */
import { z } from "zod";
import type { AuthenticatedClient } from "../../clients/authenticate-client.ts";
import { whose } from "../../grants/grant.ts";
import { CLIENT_CREDENTIALS_GRANT } from "../../oauth/client-metadata.ts";
import { OAuthError } from "../../oauth/errors.ts";
import { Repeatable, Scope } from "../../oauth/requests.ts";
import { parseScope } from "../../oauth/scope.ts";
import { namedResource } from "../../resource/protected-resource.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { GrantType, GrantTypeDependencies } from "../grant-type.ts";
import { grantedScopes } from "../granted-scopes.ts";
import { type TokenResponse, tokenResponse } from "../token-response.ts";

/** RFC 6749 §4.4.2, RFC 8707 §2.2. */
const ClientCredentialsRequest = z.object({ scope: Scope.optional(), resource: Repeatable });
type ClientCredentialsRequest = z.infer<typeof ClientCredentialsRequest>;

export const clientCredentials: GrantType<ClientCredentialsRequest> = {
  name: CLIENT_CREDENTIALS_GRANT,
  request: ClientCredentialsRequest,
  clients: "configured",
  handle: issueToClient,
};

/** @throws OAuthError `invalid_target`, `invalid_scope`, or `invalid_grant` where the policy does not admit the client */
async function issueToClient(
  client: AuthenticatedClient,
  request: ClientCredentialsRequest,
  { grants, resources, audit, now }: Runtime & GrantTypeDependencies,
): Promise<TokenResponse> {
  const resource = namedResource(request.resource, resources);
  if (resource === undefined)
    throw new OAuthError(
      "invalid_target",
      `Tokens are for ${resources.map(({ uri }) => uri).join(", or ")}.`,
      {
        reason: "foreign_resource",
      },
    );
  const { client_id: clientId, client_name: name, credential } = client;
  if (credential === undefined) throw new Error("A client of this grant type authenticates");
  const requester = {
    principal: { kind: "client" as const, clientId },
    client: { id: clientId, ...(name !== undefined && { name }) },
  };
  const { permissions, scopes: catalogue } = resource;
  const notAdmitted = permissions.checkAdmission(requester);
  if (notAdmitted !== undefined) {
    const { message, reason, rule } = notAdmitted;
    throw new OAuthError("invalid_grant", message, { reason, about: { rule: rule?.name } });
  }
  // Without a scope of its own, nothing is granted.
  const ceiling = parseScope(client.scope ?? "") ?? [];
  const scopes = grantedScopes(request.scope, ceiling, catalogue, () => beyondClient(ceiling));
  const { grant, issued } = await grants.issue({
    ...requester,
    origin: { kind: "client_credentials", credential },
    resource: resource.uri,
    scopes,
    permitted: permissions.permitted(requester, scopes),
  });
  audit({ event: "token_issued", decision: "allow", ...whose(grant), scopes: issued.scopes });
  return tokenResponse(issued, now());
}

function beyondClient(ceiling: readonly string[]): OAuthError {
  const may = ceiling.length === 0 ? "no scopes" : `the scopes ${ceiling.join(" ")}`;
  return new OAuthError("invalid_scope", `This client may have ${may} here.`, {
    reason: "scope_beyond_client",
  });
}
