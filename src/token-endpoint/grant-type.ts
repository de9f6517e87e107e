/**
 * What a grant type is (RFC 6749 §1.3), and what holds for all of them at /token. Which ones there are says grant-types.ts:
 * metadata, registration, error texts and metrics are made of that list.
 */
import { z } from "zod";
import type { Audit } from "../audit/audit.ts";
import { type AuthenticatedClient, noClient } from "../clients/authenticate-client.ts";
import type { SignIn } from "../grants/endings.ts";
import type { GrantEnd, Grants } from "../grants/grants.ts";
import type { Lifetimes } from "../grants/lifetimes.ts";
import type { UpstreamRefresh } from "../grants/upstream-renewal.ts";
import type { TrustedAssertions } from "../issuers/trusted-assertions.ts";
import { OAuthError } from "../oauth/errors.ts";
import { parse } from "../oauth/requests.ts";
import type { ProtectedResources } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { FindGrant } from "./presented-grant.ts";
import type { TokenResponse } from "./token-response.ts";

export type GrantType<Request = unknown> = GrantTypeOfClients<Request> | GrantTypeOfAssertions<Request>;

interface AnyGrantType<Request> {
  /** The value of `grant_type`, in metadata (RFC 8414 §2) and registrations (RFC 7591 §2) too. */
  readonly name: string;
  /** Its parameters, beside `grant_type` and what authenticates the client. */
  readonly request: z.ZodType<Request>;
}

/** One of clients, which say who they are, and prove it if they can. */
export interface GrantTypeOfClients<Request = unknown> extends AnyGrantType<Request> {
  /**
   * Of the clients that registered it: all may use it, or those alone that authenticate. Either can be anybody, as long as
   * registration is open. `configured`: those alone to whom the operator gave it, and who authenticate.
   */
  readonly clients: "any" | "confidential" | "configured";
  /** @throws OAuthError (RFC 6749 §5.2); UnavailableError during an outage, after which the same request works */
  handle(
    client: AuthenticatedClient,
    request: Request,
    dependencies: Runtime & GrantTypeDependencies,
  ): Promise<TokenResponse>;
}

/** One whose request says by itself who acts, so that no client has to. One that says who it is has to prove it all the same. */
export interface GrantTypeOfAssertions<Request = unknown> extends AnyGrantType<Request> {
  readonly clients: "none";
  /** @throws like {@link GrantTypeOfClients.handle} */
  handle(
    client: AuthenticatedClient | undefined,
    request: Request,
    dependencies: Runtime & GrantTypeDependencies,
  ): Promise<TokenResponse>;
  /** Whether a genuine request names this client, so that its document and keys may be fetched. @throws like `handle` */
  vouchesFor(
    request: Request,
    clientId: string,
    dependencies: Pick<GrantTypeDependencies, "assertions">,
  ): Promise<boolean>;
}

/** An argument of `handle`, because the names are wanted before any of this is built. */
export interface GrantTypeDependencies {
  grants: Grants;
  upstreamRefresh: UpstreamRefresh;
  assertions: TrustedAssertions;
  resources: ProtectedResources;
  lifetimes: Lifetimes;
  audit: Audit;
  /** See {@link readAhead}. */
  presentedGrant: FindGrant;
  /** Why nothing may be issued for an assertion: what it would give was ended after the request came. */
  endedMeanwhile(signIn: SignIn): Promise<GrantEnd | undefined>;
}

/** A request to /token whose parameters are those of its grant type. */
interface TokenRequest {
  grantType: GrantType;
  parameters: unknown;
}

/** @throws OAuthError `unsupported_grant_type`, or `invalid_request` naming the parameter */
export function parseTokenRequest(body: unknown, grantTypes: readonly GrantType[]): TokenRequest {
  const { grant_type: asked } = parse(AnyTokenRequest, body);
  const grantType = grantTypes.find(({ name }) => name === asked);
  if (grantType === undefined)
    throw new OAuthError(
      "unsupported_grant_type",
      `This server offers the grant types ${inWords(grantTypes.map(({ name }) => name))}.`,
      { reason: "unsupported_grant_type" },
    );
  return { grantType, parameters: parse(grantType.request, body) };
}

const AnyTokenRequest = z.object({ grant_type: z.string() });

/** @throws OAuthError `unauthorized_client`, or what the grant type throws */
export async function answerTokenRequest(
  client: AuthenticatedClient | undefined,
  { grantType, parameters }: TokenRequest,
  dependencies: Runtime & GrantTypeDependencies,
): Promise<TokenResponse> {
  if (grantType.clients === "none") return await grantType.handle(client, parameters, dependencies);
  if (client === undefined) throw noClient();
  refuseUnauthorized(client, grantType);
  return await grantType.handle(client, parameters, dependencies);
}

/** RFC 6749 §5.2. Registration takes a client's word for what it wants; what it may have is decided here. */
function refuseUnauthorized(client: AuthenticatedClient, { name, clients }: GrantTypeOfClients): void {
  if (!client.grant_types.includes(name))
    throw new OAuthError("unauthorized_client", `This client is not registered for the ${name} grant.`, {
      reason: "grant_type_not_registered",
    });
  if (clients === "configured" && client.provenance !== "configured")
    throw new OAuthError(
      "unauthorized_client",
      `The ${name} grant is for clients that the operator configured.`,
      {
        reason: "grant_type_of_configured_clients",
      },
    );
  if (clients !== "any" && client.token_endpoint_auth_method === "none")
    throw new OAuthError("unauthorized_client", `The ${name} grant is for clients that authenticate.`, {
      reason: "grant_type_of_confidential_clients",
    });
}

function inWords(names: readonly string[]): string {
  return new Intl.ListFormat("en-GB").format(names);
}
