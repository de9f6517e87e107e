/** The identity provider: any by discovery, or Auth0 by the names that its users know; and whom of its users we admit. */
import type { Membership, OwnMembership } from "../access/membership.ts";
import { type AtLeastOne, DEFAULT_PROVIDER, shownAs } from "../identity/identity-providers.ts";
import {
  parseScopeClaimMap,
  type ScopeClaim,
  type ScopeSources,
  TOKEN_SOURCES,
} from "../identity/scope-sources.ts";
import { type IdentityProviderSettings, SECRET_METHODS } from "../identity/settings.ts";
import { isPatternOfTenants, issuersOf } from "../oauth/tenant-issuer.ts";
import { isHostName } from "./origin-problem.ts";
import { providerCredential } from "./provider-credential.ts";
import type { Settings } from "./settings.ts";

/** Those where people sign in; the first is the default. */
export function identityProvidersConfig(settings: Settings): AtLeastOne<IdentityProviderSettings> {
  const [first, ...others] = settings.file?.providers ?? [];
  if (first === undefined) return [identityProvider(settings)];
  const views: AtLeastOne<Settings> = [
    settings.ofProvider(first),
    ...others.map((each) => settings.ofProvider(each)),
  ];
  const [one, ...rest] = views;
  const providers: AtLeastOne<IdentityProviderSettings> = [
    identityProvider(one),
    ...rest.map(identityProvider),
  ];
  refuseTwins(providers, views);
  return providers;
}

function identityProvider(settings: Settings): IdentityProviderSettings {
  const scopes = settings.scopes("OIDC_SCOPES");
  const { id = DEFAULT_PROVIDER, label } = settings.described ?? {};
  const subjectTokenType = exchangedAs(settings);
  const exchangeClient = exchangedBy(settings);
  const shared = {
    id,
    ...(label !== undefined && { label }),
    ...(scopes !== undefined && { scopes }),
    ...(subjectTokenType !== undefined && { subjectTokenType }),
    ...(exchangeClient !== undefined && { exchangeClient }),
    scopeSources: scopeSources(settings),
    authorizationParameters: authorizationParameters(settings),
    logoutTokenExp: settings.oneOf("OIDC_LOGOUT_TOKEN_EXP", ["required", "optional"]),
    tokenEndpointAuthMethod: settings.oneOf("OIDC_TOKEN_ENDPOINT_AUTH_METHOD", ["auto", ...SECRET_METHODS]),
    pushedAuthorizationRequests: settings.oneOf("OIDC_PUSHED_AUTHORIZATION_REQUESTS", ["auto", "always"]),
    timeoutSeconds: settings.integer("UPSTREAM_TIMEOUT_SECONDS", 10, 1, 60),
  };
  const isAuth0 = AUTH0_NAMES.some((name) => settings.optional(name) !== undefined);
  if (isAuth0) return { ...auth0(settings), ...shared, ...emailDomains(settings) };
  const audience = settings.optional("OIDC_AUDIENCE");
  const issuer = settings.issuer(
    "OIDC_ISSUER",
    `set it to the issuer of your identity provider${settings.described ? "" : " (or set AUTH0_DOMAIN)"}`,
  );
  return {
    preset: "oidc",
    issuer,
    ...tenants(settings, issuer),
    clientId: settings.requiredLine(
      "OIDC_CLIENT_ID",
      "set it to the client id that your identity provider gave this server",
    ),
    credential: providerCredential(
      settings,
      "OIDC_CLIENT_SECRET",
      "set it to the client secret that your identity provider gave this server",
    ),
    ...(audience !== undefined && { audience }),
    ...shared,
    ...emailDomains(settings),
  };
}

/** Everybody can make an account in it. */
const PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad";

/** Whoever administers a tenant decides what its tokens say: without a list, anybody could. */
function tenants(settings: Settings, issuer: string): Pick<IdentityProviderSettings, "tenants"> {
  const listed = settings
    .list("OIDC_TENANTS", isTenantId, "tenant ids such as 3aa4a235-b6e2-48d5-9195-7fcf05b459b0")
    .map((tenant) => tenant.toLowerCase());
  if (!isPatternOfTenants(issuer)) {
    if (listed.length > 0)
      settings.problem(
        "OIDC_TENANTS",
        "is set, and the issuer is not that of many tenants",
        "write {tenantid} in the issuer in place of the tenant, or remove the tenants",
      );
    return {};
  }
  if (listed.length === 0)
    settings.problem(
      "OIDC_TENANTS",
      "is missing: without it, every tenant in the world could sign in",
      "list the ids of those that may",
    );
  if (listed.includes(PERSONAL_ACCOUNTS))
    settings.problem(
      "OIDC_TENANTS",
      "has the tenant of personal accounts, which anybody can make",
      "remove it, and have people invited to a tenant of yours",
    );
  return { tenants: [...new Set(listed)] };
}

function isTenantId(entry: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(entry);
}

function emailDomains(settings: Settings): Pick<IdentityProviderSettings, "emailDomains"> {
  const listed = settings.list(
    "ALLOWED_EMAIL_DOMAINS",
    isHostName,
    "host names such as example.com",
    "write them without @ and without wildcards",
  );
  return listed.length === 0 ? {} : { emailDomains: listed.map((domain) => domain.toLowerCase()) };
}

/** What would let the users of one provider pass for those of another, or people mistake one for the other. */
function refuseTwins(providers: readonly IdentityProviderSettings[], views: readonly Settings[]): void {
  for (const [index, provider] of providers.entries())
    for (const [before, other] of providers.slice(0, index).entries()) {
      const name = views[before]?.described?.key;
      const view = views[index];
      if (haveCommonUsers(provider, other))
        view?.problem(
          provider.preset === "auth0" ? "AUTH0_DOMAIN" : "OIDC_ISSUER",
          `is that of ${name}, too, whose users could not be told from its own`,
          "keep one of them",
        );
      else if (shownAs(provider) === shownAs(other))
        view?.problem(
          "OIDC_CLIENT_ID",
          `is of a provider that people see as "${shownAs(provider)}", like ${name}`,
          "give each a label of its own",
        );
    }
}

function haveCommonUsers(one: IdentityProviderSettings, other: IdentityProviderSettings): boolean {
  const [issuers, others] = [one, other].map((each) => issuersOf(each).map(comparable));
  return issuers?.some((issuer) => others?.includes(issuer)) ?? false;
}

function comparable(issuer: string): string {
  return URL.canParse(issuer) ? new URL(issuer).href.replace(/\/$/, "").toLowerCase() : issuer;
}

const AUTH0_NAMES = [
  "AUTH0_DOMAIN",
  "AUTH0_CLIENT_ID",
  "AUTH0_CLIENT_SECRET",
  "AUTH0_AUDIENCE",
  "AUTH0_ORGANIZATION",
];
const OIDC_NAMES = ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_AUDIENCE"];

// Set by other settings, or by each sign-in for itself: a fixed `state` would undo what it protects.
const OWN_PARAMETERS = [
  "response_type",
  "response_mode",
  "client_id",
  "redirect_uri",
  "scope",
  "state",
  "nonce",
  "code_challenge",
  "code_challenge_method",
  "audience",
  "organization",
  "request",
  "request_uri",
];

function authorizationParameters(settings: Settings): Record<string, string> {
  const name = "OIDC_AUTHORIZATION_PARAMETERS";
  const entries = [...new URLSearchParams(settings.optional(name) ?? "")];
  const names = entries.map(([parameter]) => parameter);
  const own = names.filter((parameter) => OWN_PARAMETERS.includes(parameter));
  if (own.length > 0)
    settings.problem(
      name,
      `cannot set ${own.join(", ")}, which this server does itself`,
      "remove what it sets of these",
    );
  if (entries.some(([parameter, value]) => parameter === "" || value === ""))
    settings.problem(
      name,
      "must be written like a query string",
      "write it like access_type=offline&prompt=consent",
    );
  if (new Set(names).size < names.length)
    settings.problem(name, "names a parameter twice", "keep one of the two");
  return Object.fromEntries(entries);
}

function exchangedAs(settings: Settings): string | undefined {
  const name = "OIDC_SUBJECT_TOKEN_TYPE";
  const type = settings.optional(name);
  // RFC 8693 §3.
  if (type !== undefined && !URL.canParse(type))
    settings.problem(
      name,
      "must be an absolute URI",
      "write it as the provider has it, such as urn:acme:access-token",
    );
  return type;
}

function exchangedBy(settings: Settings): IdentityProviderSettings["exchangeClient"] {
  const [idName, secretName] = ["OIDC_EXCHANGE_CLIENT_ID", "OIDC_EXCHANGE_CLIENT_SECRET"] as const;
  const [clientId, secret] = [settings.optional(idName), settings.optional(secretName)];
  if (clientId === undefined && secret === undefined) return undefined;
  return {
    clientId: settings.requiredLine(idName, "set it to the id of the client that exchanges"),
    credential: {
      kind: "secret",
      secret: settings.requiredLine(secretName, "set it to that client's secret"),
    },
  };
}

type OfPreset = Omit<
  IdentityProviderSettings,
  | "emailDomains"
  | "id"
  | "label"
  | "scopes"
  | "scopeSources"
  | "authorizationParameters"
  | "logoutTokenExp"
  | "tokenEndpointAuthMethod"
  | "pushedAuthorizationRequests"
  | "subjectTokenType"
  | "exchangeClient"
  | "timeoutSeconds"
>;

function auth0(settings: Settings): OfPreset {
  const both = OIDC_NAMES.filter((name) => settings.optional(name) !== undefined);
  for (const name of both)
    settings.problem(name, "cannot be used together with AUTH0_… settings", "remove one kind");
  const domain = settings.required("AUTH0_DOMAIN", 'set it to your tenant, such as "tenant.eu.auth0.com"');
  if (domain !== "" && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(domain))
    settings.problem(
      "AUTH0_DOMAIN",
      'must be a host name such as "tenant.eu.auth0.com"',
      "write it without https:// and slashes",
    );
  const organization = settings.optional("AUTH0_ORGANIZATION");
  if (organization !== undefined && !/^[a-z0-9][a-z0-9_-]*$/i.test(organization))
    settings.problem(
      "AUTH0_ORGANIZATION",
      'must be the id of one organization, such as "org_abc", or its name',
      "name one alone; ALLOWED_ORGANIZATIONS takes several",
    );
  return {
    preset: "auth0",
    issuer: `https://${domain.toLowerCase()}/`, // Auth0's issuer ends with a slash
    clientId: settings.requiredLine(
      "AUTH0_CLIENT_ID",
      "set it to the client id of your Regular Web Application",
    ),
    credential: providerCredential(
      settings,
      "AUTH0_CLIENT_SECRET",
      "set it to the client secret of your Regular Web Application",
    ),
    audience: settings.required(
      "AUTH0_AUDIENCE",
      "set it to the identifier of your Auth0 API; without it tokens are opaque",
    ),
    ...(organization !== undefined && { organization }),
  };
}

function scopeSources(settings: Settings): ScopeSources {
  const all: readonly string[] = [...TOKEN_SOURCES, "claim", "consent"];
  const form = `sources among ${all.slice(0, -1).join(", ")}, or consent alone`;
  const listed = settings.list("SCOPES_FROM", (entry) => all.includes(entry), form);
  const from: readonly string[] = listed.length === 0 ? TOKEN_SOURCES : listed;
  const claim = scopeClaim(settings, from.includes("claim"));
  if (from.includes("consent")) {
    if (from.length > 1)
      settings.problem(
        "SCOPES_FROM",
        "has more than consent, beside which nothing that the provider says would count",
        "write consent alone, or leave it out of the list",
      );
    return { kind: "consent" };
  }
  return {
    kind: "provider",
    tokens: TOKEN_SOURCES.filter((source) => from.includes(source)),
    ...(claim !== undefined && { claim }),
  };
}

function scopeClaim(settings: Settings, isSource: boolean): ScopeClaim | undefined {
  const path = settings.optional("SCOPE_CLAIM");
  const map = scopeClaimMap(settings);
  if (!isSource) {
    if (path !== undefined || map !== undefined)
      settings.problem(
        path === undefined ? "SCOPE_CLAIM_MAP" : "SCOPE_CLAIM",
        "counts only with claim in SCOPES_FROM",
        "add it there, or leave this out",
      );
    return undefined;
  }
  if (path === undefined)
    settings.problem(
      "SCOPE_CLAIM",
      "is missing, which claim in SCOPES_FROM needs",
      "set it to the name of the claim, such as roles, realm_access.roles or https://example.com/roles",
    );
  return { path: path ?? "", ...(map !== undefined && { map }) };
}

function scopeClaimMap(settings: Settings): ScopeClaim["map"] {
  const text = settings.optional("SCOPE_CLAIM_MAP");
  return text === undefined
    ? undefined
    : (settings.parsed("SCOPE_CLAIM_MAP", text, parseScopeClaimMap) ?? new Map());
}

const USUAL_ORGANIZATION_CLAIM = "org_id";

export function membershipConfig(
  settings: Settings,
  providers: AtLeastOne<IdentityProviderSettings>,
): Membership {
  const organizations = settings.list("ALLOWED_ORGANIZATIONS", () => true, "organizations");
  const organizationClaim = settings.text("ORGANIZATION_CLAIM", USUAL_ORGANIZATION_CLAIM);
  if (organizations.length === 0 && organizationClaim !== USUAL_ORGANIZATION_CLAIM)
    settings.problem(
      "ORGANIZATION_CLAIM",
      "keeps nobody out without ALLOWED_ORGANIZATIONS",
      "list them, or remove the claim",
    );
  const [{ emailDomains = [], organization }, ...others] = providers;
  const common = { organizations, organizationClaim };
  if (others.length === 0)
    return {
      ...common,
      emailDomains,
      ...(organization !== undefined && { auth0Organization: organization }),
    };
  return {
    ...common,
    // Of whoever comes from elsewhere, by a token of an issuer that is trusted.
    emailDomains: [...new Set(providers.flatMap((each) => each.emailDomains ?? []))],
    ofIssuers: new Map(providers.flatMap(ownMembership)),
  };
}

function ownMembership(provider: IdentityProviderSettings): Array<[issuer: string, OwnMembership]> {
  const { emailDomains = [], organization } = provider;
  const own = { emailDomains, ...(organization !== undefined && { auth0Organization: organization }) };
  return issuersOf(provider).map((issuer) => [issuer, own]);
}
