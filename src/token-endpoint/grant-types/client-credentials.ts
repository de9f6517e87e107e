/**
 * grant_type=client_credentials: a client that the operator configured acts for itself (RFC 6749 §4.4). Its principal is the
 * client, in a namespace of its own: it never equals a user.
 */
import { z } from "zod";
import type { AuthenticatedClient } from "../../clients/authenticate-client.ts";
import { CLIENT_CREDENTIALS_GRANT } from "../../oauth/client-metadata.ts";
import { OAuthError } from "../../oauth/errors.ts";
import { Repeatable, Scope } from "../../oauth/requests.ts";
import { intersect, parseScope } from "../../oauth/scope.ts";
import { requestedResource } from "../../resource/protected-resource.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { GrantType, GrantTypeDependencies } from "../grant-type.ts";
import { issueWithoutUser } from "../issue-without-user.ts";
import type { TokenResponse } from "../token-response.ts";

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
  dependencies: Runtime & GrantTypeDependencies,
): Promise<TokenResponse> {
  const { resources } = dependencies;
  const { client_id: clientId, client_name: name, credential } = client;
  if (credential === undefined) throw new Error("A client of this grant type authenticates");
  // Without a scope of its own, nothing is granted.
  const ceiling = parseScope(client.scope ?? "") ?? [];
  const asked = request.scope === undefined ? ceiling : (parseScope(request.scope) ?? []);
  const resource = requestedResource(request.resource, asked, resources);
  if (resource === undefined || resource === "ambiguous")
    throw new OAuthError(
      "invalid_target",
      `Tokens are for ${resources.map(({ uri }) => uri).join(", or ")}: name one in the parameter resource.`,
      { reason: resource === undefined ? "foreign_resource" : "ambiguous_resource" },
    );
  return await issueWithoutUser(
    {
      requester: {
        principal: { kind: "client", clientId },
        client: { id: clientId, ...(name !== undefined && { name }) },
      },
      origin: { kind: "client_credentials", credential },
      resource,
      asked: request.scope,
      // What it may have elsewhere is no scope of this resource.
      ceiling: intersect(ceiling, resource.scopes.names),
      beyond: () => beyondClient(ceiling),
    },
    dependencies,
  );
}

function beyondClient(ceiling: readonly string[]): OAuthError {
  const may = ceiling.length === 0 ? "no scopes" : `the scopes ${ceiling.join(" ")}`;
  return new OAuthError("invalid_scope", `This client may have ${may} here.`, {
    reason: "scope_beyond_client",
  });
}
