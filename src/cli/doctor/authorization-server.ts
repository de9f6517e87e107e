/** Other authorization servers, for tools that call their APIs in the user's name: are they there, and do they know this server? */
import { RefusedElsewhere } from "../../identity/identity-provider.ts";
import {
  type AuthorizationServerSettings,
  createAuthorizationServer,
} from "../../identity/oidc/authorization-server.ts";
import { causes, OAuthError } from "../../oauth/errors.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { type Deployment, ofEach } from "./deployment.ts";
import { checkOf, type Finding, type Found, notChecked } from "./finding.ts";

export async function checkAuthorizationServers(deployment: Deployment): Promise<Found> {
  const { authorizationServers: servers } = deployment;
  const name = "authorization_servers";
  if (servers === undefined) return notChecked(name, "authorizationServers in CONFIG_FILE");
  return ofEach(deployment, servers, name, (server) => checkAuthorizationServer(server, deployment));
}

/** With a made-up assertion: whoever looks at it has accepted the client before (RFC 6749 §5.2, RFC 7521 §4.1). */
export async function checkAuthorizationServer(
  settings: AuthorizationServerSettings,
  runtime: Runtime,
): Promise<Finding> {
  const { issuer, client } = settings;
  const found = checkOf("authorization_servers.client");
  const refusal: unknown = await createAuthorizationServer(settings, runtime)
    .redeem("made-up-by-the-doctor", { authorizationServer: issuer, scopes: [] })
    .then(() => new Error("it took a made-up assertion for a good one"))
    .catch((error: unknown) => error);
  if (refusal instanceof RefusedElsewhere)
    return found`✓ The authorization server ${issuer} takes assertions from this server, its client ${client.clientId}, as far as a made-up one shows (${refusal.code}). Every identity provider has to assert for that client`;
  if (refusal instanceof OAuthError && refusal.reason === "authorization_server_misconfigured")
    return found`✗ The authorization server ${issuer} does not take assertions from this server, its client ${client.clientId}: ${causes(refusal)}
      → Correct clientId, and its secret or key, in authorizationServers of CONFIG_FILE; and allow that client the grant type jwt-bearer there.`;
  return found`✗ The authorization server ${issuer} gives no tokens for assertions: ${causes(refusal)}
    → Correct its issuer in authorizationServers of CONFIG_FILE, letter by letter as in its metadata (RFC 8414), and let this computer reach it.`;
}
