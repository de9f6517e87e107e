/** What this server asks of an authorization server whose client it is, and which signs nobody in here: it proves who it is as elsewhere. */
import type { Runtime } from "../../runtime/runtime.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { boundedFetch } from "./bounded-response.ts";
import { createClientAuthentication } from "./client-authentication.ts";

/** This server as a client there. */
export type ClientElsewhere = Pick<
  IdentityProviderSettings,
  "clientId" | "credential" | "tokenEndpointAuthMethod"
>;

/** Resolves with whatever is answered. */
export type AuthenticatedPost = (
  endpoint: string,
  parameters: Readonly<Record<string, string>>,
) => Promise<Response>;

interface Server {
  issuer: string;
  client: ClientElsewhere;
  /** Of one request. */
  timeoutSeconds: number;
}

/** @throws InvalidValue if the credential cannot be read */
export function createAuthenticatedPost(
  { issuer, client, timeoutSeconds }: Server,
  runtime: Pick<Runtime, "now" | "randomBytes" | "log" | "fetch">,
): AuthenticatedPost {
  const { authenticate, fetch } = createClientAuthentication(
    { preset: "oidc", issuer, ...client },
    (url, options) => boundedFetch(url, options as RequestInit, runtime),
    runtime,
  );
  return async (endpoint, parameters) => {
    const body = new URLSearchParams(parameters);
    const headers = new Headers({ accept: "application/json" });
    // An assertion is for the issuer, or for the endpoint that is asked (RFC 7523 §3).
    const metadata = { issuer, token_endpoint: endpoint };
    await authenticate(metadata, { client_id: client.clientId }, body, headers);
    return await fetch(endpoint, {
      method: "POST",
      headers: Object.fromEntries(headers.entries()),
      body,
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    });
  };
}
