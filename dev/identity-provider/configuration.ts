/** Turns the behaviour that was asked for into oidc-provider's configuration: tokens, scopes, grants and lifetimes. */
import type {
  AdapterFactory,
  ClientAuthMethod,
  ClientMetadata,
  Configuration,
  JWK,
  KoaContextWithOIDC,
} from "oidc-provider";
import { errors } from "oidc-provider";
import { TOKEN_EXCHANGE_GRANT } from "../client/oauth-client.ts";
import { errorPage, logoutPage, show, signedOutPage } from "./pages.ts";
import type { ProviderBehaviour } from "./provider-profiles.ts";
import { claimsOf, type DemoUser, type Directory } from "./users.ts";
import { ACR_VALUES, interactionRules } from "./ways-to-sign-in.ts";

const oidcScopes = ["openid", "profile", "email", "offline_access"] as const;

/** The scopes of OpenID Connect itself that a provider with this behaviour knows. */
export function standardScopes({ refreshTokens }: Required<ProviderBehaviour>): string[] {
  return oidcScopes.filter((scope) => scope !== "offline_access" || refreshTokens !== "with-access-type");
}

/** An MCP server that trusts this provider, and who may come to it from here. */
export interface McpServer {
  /** The issuer of its authorization server: `aud` of ID-JAGs. */
  issuer: string;
  /** The MCP endpoint: `aud` of access tokens. */
  resource: string;
  /** People sign in to it at this provider, and it goes to the MCP server in their name. */
  application: { id: string; secret: string; redirectUri: string };
  /** Acts for itself, with an access token of this provider. */
  machine: { id: string; secret: string };
}

export interface Settings {
  mcpServer: McpServer | undefined;
  client: {
    id: string;
    secret: string;
    /** Its public keys: it signs assertions (`private_key_jwt`), and has no use for the secret. */
    jwks?: readonly JWK[];
    redirectUris: readonly string[];
    postLogoutRedirectUris?: readonly string[];
    backchannelLogoutUri?: string;
  };
  audience: string;
  /** A client of the API itself, as Auth0 has it: it alone may exchange tokens that are for the API. Nobody signs in by it. */
  apiClient: { id: string; secret: string } | undefined;
  scopes: readonly string[];
  /** Other APIs, by identifier, with their scopes: their tokens are got by token exchange. */
  otherApis: Readonly<Record<string, readonly string[]>>;
  directory: Directory;
  behaviour: Required<ProviderBehaviour>;
  clockAhead: () => number;
  signedInAgo: () => number;
  /** The organization that each sign-in was for, by the id of its grant. */
  organizations: Map<string, NonNullable<DemoUser["organization"]>>;
  /** The grants that were asked for with Google's `access_type=offline`. */
  offline: Set<string>;
}

interface Runtime {
  adapter: AdapterFactory;
  signingKey: JWK;
  cookieKey: string;
  /** Browsers share the cookies of all ports of a host, so the port has to be in their names. */
  port: number;
}

const day = 24 * 60 * 60;

export function configure(settings: Settings, around: Runtime): Configuration {
  const { behaviour, directory } = settings;
  const opaque = behaviour.accessTokens === "opaque";
  return {
    adapter: around.adapter,
    jwks: { keys: [around.signingKey] },
    cookies: {
      keys: [around.cookieKey],
      names: {
        session: `idp_session_${around.port}`,
        interaction: `idp_interaction_${around.port}`,
        resume: `idp_resume_${around.port}`,
      },
    },
    clients: [
      clientMetadata(settings),
      ...clientsOf(settings.mcpServer),
      ...(settings.apiClient ? [withoutSignIn(settings.apiClient, TOKEN_EXCHANGE_GRANT)] : []),
    ],
    clientBasedCORS: () => false,
    acrValues: [...ACR_VALUES],
    responseTypes: ["code"],
    clientAuthMethods: authenticationMethods(settings),
    // Opaque tokens carry API scopes the way they carry `email`; JWTs carry those of their audience.
    scopes: opaque ? [...oidcScopes, ...settings.scopes] : [...oidcScopes],
    claims: {
      openid: [
        "sub",
        "org_id",
        "org_name",
        ...directory.listed.flatMap((user) => Object.keys(user.claims ?? {})),
      ],
      profile: ["name"],
      email: ["email", "email_verified"],
    },
    // Auth0 puts the claims of `profile` and `email` into the ID token too, not only into userinfo.
    conformIdTokenClaims: false,
    extraParams: { audience: refuseUnknown(settings), organization: null, access_type: null },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: {
        enabled: behaviour.pushedRequests !== "none",
        requirePushedAuthorizationRequests: behaviour.pushedRequests === "of all",
      },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: settings.mcpServer !== undefined },
      jwtUserinfo: { enabled: behaviour.userinfo === "signed" },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => show(ctx, await logoutPage(form)),
        postLogoutSuccessSource: async (ctx) => show(ctx, await signedOutPage()),
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => apiOf(settings, resource),
      },
    },
    formats: {
      customizers: {
        jwt: (_ctx, token, { payload }) =>
          token.kind === "ClientCredentials" ? undefined : writeJwt(settings, payload),
      },
    },
    interactions: {
      policy: interactionRules(),
      url: (_ctx, interaction) => `/interaction/${interaction.uid}`,
    },
    findAccount(ctx, subject, token) {
      forgetResourceOfTokenRequest(settings, ctx);
      withholdLostPermissions(settings, ctx, directory.find(subject));
      const organization = settings.organizations.get(token?.grantId ?? "");
      const named = organization && { org_id: organization.id, org_name: organization.name };
      return {
        accountId: subject,
        claims: (use) =>
          use === "id_token" && behaviour.idTokens === "thin"
            ? { sub: subject }
            : { ...claimsOf(directory.find(subject)), ...named },
      };
    },
    loadExistingGrant: (ctx) => grantEverythingAllowed(settings, ctx),
    // Otherwise a second sign-in of the same browser would end what the first was given.
    expiresWithSession: () => false,
    rotateRefreshToken: !["static", "with-access-type"].includes(behaviour.refreshTokens),
    issueRefreshToken: (_ctx, _client, { scope, grantId }) => {
      if (behaviour.refreshTokens === "never") return false;
      if (behaviour.refreshTokens === "with-access-type") return settings.offline.has(grantId ?? "");
      return scope?.split(" ").includes("offline_access") ?? false;
    },
    renderError: async (ctx, out) => show(ctx, await errorPage(out.error, out.error_description)),
    // oidc-provider refuses to call loopback addresses, which is where the demo's back-channel logout is.
    fetch: (url, init) => fetch(url, withoutDispatcher(init)),
    ttl: {
      AccessToken: behaviour.accessTokenSeconds,
      AuthorizationCode: 60,
      ClientCredentials: behaviour.accessTokenSeconds,
      Grant: 14 * day,
      IdToken: () => Math.max(60, 3600 + Math.round(settings.clockAhead())),
      Interaction: 3600,
      RefreshToken: 14 * day,
      Session: day,
    },
  };
}

export const ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const CLIENT_AUTHENTICATION = {
  any: ["client_secret_basic", "client_secret_post"],
  basic: ["client_secret_basic"],
  post: ["client_secret_post"],
} as const satisfies Record<string, ClientAuthMethod[]>;

function authenticationMethods({ client, behaviour }: Settings): ClientAuthMethod[] {
  return client.jwks === undefined
    ? CLIENT_AUTHENTICATION[behaviour.clientAuthentication]
    : ["private_key_jwt"];
}

function clientMetadata(settings: Settings) {
  const { client, behaviour } = settings;

  return {
    client_id: client.id,
    client_secret: client.secret,
    token_endpoint_auth_method: authenticationMethods(settings)[0],
    ...(client.jwks !== undefined && { jwks: { keys: [...client.jwks] } }),
    ...(behaviour.userinfo === "signed" && { userinfo_signed_response_alg: "RS256" as const }),
    ...(behaviour.pushedRequests === "of the client" && { require_pushed_authorization_requests: true }),
    redirect_uris: [...client.redirectUris],
    grant_types: [
      "authorization_code",
      "refresh_token",
      ...((Object.keys(settings.otherApis).length > 0 && settings.apiClient === undefined) ||
      settings.mcpServer !== undefined
        ? [TOKEN_EXCHANGE_GRANT, ON_BEHALF_OF]
        : []),
    ],
    post_logout_redirect_uris: [...(client.postLogoutRedirectUris ?? [])],
    ...(client.backchannelLogoutUri && {
      backchannel_logout_uri: client.backchannelLogoutUri,
      backchannel_logout_session_required: true,
    }),
  };
}

/** Both may send their secret in either way. */
function clientsOf(mcpServer: McpServer | undefined): ClientMetadata[] {
  if (mcpServer === undefined) return [];
  const { application, machine } = mcpServer;
  return [
    {
      client_id: application.id,
      client_secret: application.secret,
      token_endpoint_auth_method: "client_secret_post",
      application_type: "native",
      redirect_uris: [application.redirectUri],
      grant_types: ["authorization_code", TOKEN_EXCHANGE_GRANT],
    },
    withoutSignIn(machine, "client_credentials"),
  ];
}

function withoutSignIn({ id, secret }: { id: string; secret: string }, grantType: string): ClientMetadata {
  return {
    client_id: id,
    client_secret: secret,
    token_endpoint_auth_method: "client_secret_post",
    redirect_uris: [],
    response_types: [],
    grant_types: [grantType],
  };
}

/** A check of every authorization request, hung on Auth0's own parameter. */
function refuseUnknown({ audience, scopes, behaviour }: Settings) {
  return (ctx: KoaContextWithOIDC, asked: string | undefined): void => {
    if (asked !== undefined && asked !== audience && behaviour.audienceParameter === "selects")
      throw new errors.AccessDenied(`Service not found: ${asked}`);
    if (behaviour.unknownScopes === "ignored") return;
    const known = new Set<string>([...standardScopes(behaviour), ...scopes]);
    // `ctx.oidc.params` already lacks what oidc-provider does not know.
    const unknown = String(ctx.query.scope ?? "")
      .split(" ")
      .find((scope) => scope && !known.has(scope));
    if (unknown) throw new errors.InvalidScope("requested scope is not known", unknown);
  };
}

function apiOf({ audience: api, mcpServer, scopes, behaviour }: Settings, resource: string) {
  const audience = resource === mcpServer?.resource ? resource : api;
  if (resource !== audience) throw new errors.InvalidTarget(`unknown resource: ${resource}`);
  return {
    audience,
    scope: [...oidcScopes, ...scopes].join(" "),
    accessTokenFormat: "jwt" as const,
    accessTokenTTL: behaviour.accessTokenSeconds,
  };
}

function writeJwt(
  { audience, directory, behaviour, clockAhead }: Settings,
  payload: Record<string, unknown>,
): void {
  if (typeof payload.exp === "number") payload.exp += clockAhead();
  const user = directory.find(String(payload.sub));
  if (behaviour.claimsInAccessToken) Object.assign(payload, user.claims);
  if (behaviour.permissionsClaim && payload.aud === audience) payload.permissions = [...user.permissions];
  if (behaviour.accessTokenSubject === "another") payload.sub = `another-name-of-${payload.sub}`;
  if (behaviour.scopeClaim === "scope") return;
  const scopes = String(payload.scope ?? "")
    .split(" ")
    .filter(Boolean)
    .map((scope) => permissionOf(scope, behaviour));
  if (behaviour.scopeClaim === "scp") payload.scp = scopes;
  if (behaviour.scopeClaim === "scp-text") payload.scp = scopes.join(" ");
  delete payload.scope;
}

/** What a user may have by the name without the prefix with which it is asked for. */
function permissionOf(scope: string, { scopePrefix }: Required<ProviderBehaviour>): string {
  return scope.startsWith(scopePrefix) ? scope.slice(scopePrefix.length) : scope;
}

/**
 * The token's audience is the one that was authorized, whatever the token request says. Called from
 * `findAccount` because oidc-provider offers no other place between reading a token request and
 * choosing its resource.
 */
function forgetResourceOfTokenRequest({ audience, behaviour }: Settings, ctx: KoaContextWithOIDC): void {
  const { params, route } = ctx.oidc;
  if (route !== "token" || !params) return;
  const strange = [params.resource].flat().some((resource) => resource && resource !== audience);
  if (!strange || behaviour.unknownResource === "ignored") params.resource = undefined;
}

/**
 * Grants what was asked as far as the user's permissions go, and a new grant each time: one application's
 * revocation or reused refresh token does not end another sign-in of the same browser.
 */
async function grantEverythingAllowed(settings: Settings, ctx: KoaContextWithOIDC) {
  const { audience, scopes, directory, organizations, offline, behaviour } = settings;
  const { provider, client, session } = ctx.oidc;
  if (!client || !session?.accountId) return undefined;
  const user = directory.find(session.accountId);
  const organization = chosenOrganization(settings, ctx, user);
  const { permissions } = user;
  const allowed = scopes.filter((scope) => permissions.includes(permissionOf(scope, behaviour)));
  const denied = scopes.filter((scope) => !allowed.includes(scope));
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  grant.addOIDCScope([...oidcScopes, ...allowed].join(" "));
  grant.addResourceScope(audience, [...oidcScopes, ...allowed].join(" "));
  if (denied.length > 0) {
    grant.rejectOIDCScope(denied.join(" "));
    grant.rejectResourceScope(audience, denied.join(" "));
  }
  const grantId = await grant.save();
  if (organization) organizations.set(grantId, organization);
  const { access_type: accessType, prompt } = ctx.oidc.params ?? {};
  if (accessType === "offline" && String(prompt).split(" ").includes("consent")) offline.add(grantId);
  return grant;
}

/** Auth0 takes the id of an organization, or its name in any case, and lets nobody in who is no member. */
function chosenOrganization({ behaviour }: Settings, ctx: KoaContextWithOIDC, user: DemoUser) {
  const asked = ctx.oidc.params?.organization;
  if (typeof asked !== "string" || behaviour.organizations === "ignored") return undefined;
  const { organization } = user;
  if (asked === organization?.id || asked.toLowerCase() === organization?.name) return organization;
  throw new errors.AccessDenied(`user ${user.subject} is not part of the ${asked} organization`);
}

/** At a refresh Auth0 looks again at what the user may do; oidc-provider grants what it granted. */
function withholdLostPermissions(
  { audience, scopes, behaviour }: Settings,
  ctx: KoaContextWithOIDC,
  user: DemoUser,
): void {
  const grant = ctx.oidc.route === "token" ? ctx.oidc.entities.Grant : undefined;
  const lost = scopes.filter((scope) => !user.permissions.includes(permissionOf(scope, behaviour))).join(" ");
  if (!grant || lost === "") return;
  grant.rejectOIDCScope(lost);
  grant.rejectResourceScope(audience, lost);
}

function withoutDispatcher(init: (RequestInit & { dispatcher?: unknown }) | undefined): RequestInit {
  const { dispatcher: _, ...rest } = init ?? {};
  return rest as RequestInit;
}
