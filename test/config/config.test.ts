/** Reading the environment: every problem is reported in one message, each with its remedy. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError, loadConfig } from "../../src/config/config.ts";

const GOOD = {
  BASE_URL: "https://mcp.example.com",
  OIDC_ISSUER: "https://login.example.com/realms/main",
  OIDC_CLIENT_ID: "id",
  OIDC_CLIENT_SECRET: "secret",
  REDIS_URL: "redis://localhost:6379",
  SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
};

const mapped = (map: string) => ({ SCOPES_FROM: "claim", SCOPE_CLAIM: "roles", SCOPE_CLAIM_MAP: map });

function errorOf(environment: Record<string, string | undefined>): ConfigError | undefined {
  try {
    loadConfig({ ...GOOD, ...environment });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error;
  }
  return undefined;
}

const problemsOf = (environment: Record<string, string | undefined>) => errorOf(environment)?.message ?? "";

describe("configuration", () => {
  test("the smallest good environment gives the defaults", () => {
    const config = loadConfig(GOOD);
    assert.equal(config.resource, "https://mcp.example.com/mcp");
    assert.equal(config.identityProviders[0].scopes, undefined);
    assert.equal(config.identityProviders[0].audience, undefined);
    assert.deepEqual(config.store, {
      kind: "redis",
      url: "redis://localhost:6379",
      keyPrefix: "mcp-oidc-proxy",
      commandTimeoutMs: 2000,
    });
  });

  test("an empty environment names every required setting in one message", () => {
    const nothing = Object.fromEntries(Object.keys(GOOD).map((name) => [name, undefined]));
    const message = problemsOf(nothing);
    for (const name of Object.keys(GOOD)) assert.match(message, new RegExp(`- ${name} is missing: `));
    assert.match(message, /6 settings to fix/);
  });

  test("the Auth0 preset is set by Auth0's own names", () => {
    const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, ...rest } = GOOD;
    const {
      identityProviders: [upstream],
    } = loadConfig({
      ...rest,
      AUTH0_DOMAIN: "tenant.eu.auth0.com",
      AUTH0_CLIENT_ID: "a",
      AUTH0_CLIENT_SECRET: "b",
      AUTH0_AUDIENCE: "https://api.example.com",
    });
    assert.equal(upstream.preset, "auth0");
    assert.equal(upstream.issuer, "https://tenant.eu.auth0.com/");
    assert.equal(upstream.audience, "https://api.example.com");
  });

  const bad: Array<[string, Record<string, string>, RegExp]> = [
    ["http on a public host", { BASE_URL: "http://mcp.example.com" }, /BASE_URL must be https/],
    ["a look-alike of localhost", { BASE_URL: "http://localhost.evil.example" }, /BASE_URL must be https/],
    ["no URL at all", { BASE_URL: "mcp.example.com" }, /BASE_URL is not a URL/],
    [
      "no scheme before a host and a port",
      { BASE_URL: "mcp.example.com:8443" },
      /BASE_URL is not a URL: write it in full, beginning with https:\/\/$/m,
    ],
    [
      "no scheme before this computer's port",
      { BASE_URL: "localhost:3000" },
      /BASE_URL is not a URL: write it in full, beginning with http:\/\/$/m,
    ],
    ["a query in the base URL", { BASE_URL: "https://a.example/?x=1" }, /BASE_URL must have no query/],
    [
      "the address of a discovery document for an issuer",
      { OIDC_ISSUER: "https://login.example.com/realms/main/.well-known/openid-configuration" },
      /OIDC_ISSUER must be the issuer itself.*: set it to https:\/\/login\.example\.com\/realms\/main$/m,
    ],
    ["an issuer over http", { OIDC_ISSUER: "http://login.example.com" }, /OIDC_ISSUER must be https/],
    ["a short key", { SECRET_KEY: "short" }, /SECRET_KEY has fewer than 32 bytes: make one/],
    [
      "a short second key",
      { SECRET_KEY: `${GOOD.SECRET_KEY},short` },
      /SECRET_KEY has fewer than 32 bytes in key 2:/,
    ],
    ["a key of one letter", { SECRET_KEY: "a".repeat(40) }, /SECRET_KEY is not random: make one/],
    ["Redis by another scheme", { REDIS_URL: "http://localhost:6379" }, /REDIS_URL must be like redis/],
    [
      "processes that cannot share sessions",
      { STORE: "memory", REDIS_URL: "", WORKERS: "2" },
      /WORKERS is more than 1 with STORE=memory/,
    ],
    ["no number of processes", { WORKERS: "many" }, /WORKERS must be a whole number from 1 to 256/],
    ["two stores", { STORE: "memory" }, /STORE is memory, and REDIS_URL is set: remove one/],
    ["a store nobody knows", { STORE: "disk" }, /STORE must be/],
    ["a port out of range", { PORT: "70000" }, /PORT must be a whole number from 1 to 65535/],
    [
      "a lifetime that is no number",
      { ACCESS_TOKEN_SECONDS: "1h" },
      /ACCESS_TOKEN_SECONDS must be a whole number/,
    ],
    ["scopes without openid", { OIDC_SCOPES: "profile" }, /OIDC_SCOPES must contain openid/],
    ["a log level nobody knows", { LOG_LEVEL: "loud" }, /LOG_LEVEL must be one of/],
    ["clients that end before their grants", { CLIENT_SECONDS: "600" }, /CLIENT_SECONDS must exceed/],
    ["both presets", { AUTH0_DOMAIN: "t.auth0.com" }, /OIDC_ISSUER cannot be used together with AUTH0_/],
    ["Auth0 without its domain", { AUTH0_CLIENT_ID: "x" }, /AUTH0_DOMAIN is missing/],
    ["the endpoint as base URL", { BASE_URL: "https://a.example/mcp" }, /BASE_URL must not end with \/mcp/],
    [
      "an odd path in the base URL",
      { BASE_URL: "https://a.example/to%2fols" },
      /BASE_URL has a path with other/,
    ],
    [
      "one client twice",
      {
        CLIENTS:
          '[{"client_id":"a","redirect_uris":["https://a.example/"]},{"client_id":"a","redirect_uris":["https://a.example/"]}]',
      },
      /CLIENTS names a twice/,
    ],
    ["a key list without keys", { SECRET_KEY: "," }, /SECRET_KEY has fewer than 32 bytes in key 1/],
    ["a Redis password that breaks the URL", { REDIS_URL: "redis://u:pa#ss@h:1" }, /percent-encoded/],
    ["a proxy that is no address", { TRUSTED_PROXIES: "nginx" }, /TRUSTED_PROXIES must be/],
    [
      "every address as a proxy",
      { TRUSTED_PROXIES: "10.0.0.1, 0.0.0.0/0" },
      /TRUSTED_PROXIES must be .*: name the proxies.* 0\.0\.0\.0\/0, anybody's word would count/,
    ],
    ["the same of IPv6", { TRUSTED_PROXIES: "::/0" }, /TRUSTED_PROXIES must be/],
    ["a proxy whose address is not whole", { TRUSTED_PROXIES: "10" }, /TRUSTED_PROXIES must be/],
    ["an origin with a path", { ALLOWED_ORIGINS: "https://a.example/x" }, /ALLOWED_ORIGINS must be/],
    [
      "no consent with open registration",
      { CONSENT: "never" },
      /CONSENT is never, which needs REGISTRATION=off and/,
    ],
    [
      "no consent with metadata documents",
      { CONSENT: "never", REGISTRATION: "off" },
      /and CLIENT_ID_METADATA=off/,
    ],
    [
      "a domain that is a URL",
      { CLIENT_DOMAINS_DENIED: "https://evil.example" },
      /CLIENT_DOMAINS_DENIED must be/,
    ],
    [
      "registration tokens that nobody asks for",
      { REGISTRATION_TOKENS: "a".repeat(20) },
      /set REGISTRATION=token/,
    ],
    ["registration by token without tokens", { REGISTRATION: "token" }, /needs REGISTRATION_TOKENS/],
    [
      "a pattern for half the world",
      { ALLOWED_REDIRECT_URIS: "https://*.com/*" },
      /ALLOWED_REDIRECT_URIS must be/,
    ],
    [
      "a forward proxy without a scheme",
      { CLIENT_ID_METADATA_PROXY: "proxy.corp:3128" },
      /_PROXY must be the address/,
    ],
    [
      "one that speaks TLS",
      { CLIENT_ID_METADATA_PROXY: "https://proxy.corp:3128" },
      /such as http:\/\/proxy/,
    ],
    [
      "one with a path",
      { CLIENT_ID_METADATA_PROXY: "http://proxy.corp:3128/pac" },
      /_PROXY must be the address/,
    ],
    [
      "one whose password breaks the URL",
      { CLIENT_ID_METADATA_PROXY: "http://u:50%off@h:1" },
      /percent-encoded/,
    ],
    ["clients that are no JSON", { CLIENTS: "{" }, /CLIENTS must be a JSON array/],
    [
      "a client without redirect URIs",
      { CLIENTS: '[{"client_id":"a"}]' },
      /CLIENTS gives a no redirect_uris/,
    ],
    [
      "a client with a dangerous redirect URI",
      { CLIENTS: '[{"client_id":"a","redirect_uris":["javascript:alert(1)"]}]' },
      /CLIENTS has a redirect URI of a that uses the scheme/,
    ],
    ["a home page that is neither", { HOME_PAGE: "no" }, /HOME_PAGE must be one of on, off/],
    ["a colour by name", { SERVER_COLOR: "red" }, /SERVER_COLOR is no colour .*: write it like 1f5fd6/],
    ["a logo over http", { SERVER_LOGO_URL: "http://a.example/l.png" }, /SERVER_LOGO_URL must be https/],
    ["a source of scopes nobody knows", { SCOPES_FROM: "roles" }, /SCOPES_FROM must be .* or consent alone/],
    [
      "consent beside what the provider says",
      { SCOPES_FROM: "consent,scope" },
      /SCOPES_FROM has more than consent/,
    ],
    [
      "a claim without its name",
      { SCOPES_FROM: "scope,claim" },
      /SCOPE_CLAIM is missing, .*realm_access.roles/,
    ],
    [
      "a claim that nobody asks for",
      { SCOPE_CLAIM: "roles" },
      /SCOPE_CLAIM counts only with claim in SCOPES_FROM/,
    ],
    [
      "a map that nobody asks for",
      { SCOPE_CLAIM_MAP: "{}" },
      /SCOPE_CLAIM_MAP counts only with claim in SCOPES_FROM/,
    ],
    [
      "a map that is no JSON",
      mapped("forecaster=weather:read"),
      /SCOPE_CLAIM_MAP must be a JSON object: write it like/,
    ],
    ["a map that is a list", mapped('["a"]'), /SCOPE_CLAIM_MAP must be a JSON object: write it like/],
    [
      "a map to a text",
      mapped('{"a":"weather:read"}'),
      /SCOPE_CLAIM_MAP gives "a" something that is no list/,
    ],
    ["a map to two scopes in one", mapped('{"a":["x y"]}'), /SCOPE_CLAIM_MAP gives "a" something that is no/],
    [
      "a map to a number",
      mapped('{"ok":["x"],"b":[1]}'),
      /SCOPE_CLAIM_MAP gives "b" something that is no list/,
    ],
    [
      "an e-mail domain with an @",
      { ALLOWED_EMAIL_DOMAINS: "@example.com" },
      /ALLOWED_EMAIL_DOMAINS must be/,
    ],
    [
      "e-mail domains by wildcard",
      { ALLOWED_EMAIL_DOMAINS: "*.example.com" },
      /ALLOWED_EMAIL_DOMAINS must be/,
    ],
    [
      "an e-mail domain with a look-alike",
      { ALLOWED_EMAIL_DOMAINS: "ex\u0430mple.com" },
      /must be .*host names/,
    ],
    [
      "a claim of organizations without organizations",
      { ORGANIZATION_CLAIM: "hd" },
      /ORGANIZATION_CLAIM keeps nobody out without ALLOWED_ORGANIZATIONS/,
    ],
    [
      "a parameter of the sign-in request that is ours to set",
      { OIDC_AUTHORIZATION_PARAMETERS: "state=fixed&prompt=consent&nonce=1" },
      /OIDC_AUTHORIZATION_PARAMETERS cannot set state, nonce/,
    ],
    [
      "parameters of the sign-in request that are no query string",
      { OIDC_AUTHORIZATION_PARAMETERS: "access_type" },
      /OIDC_AUTHORIZATION_PARAMETERS must be written like a query string/,
    ],
    [
      "one parameter of the sign-in request twice",
      { OIDC_AUTHORIZATION_PARAMETERS: "prompt=consent&prompt=login" },
      /OIDC_AUTHORIZATION_PARAMETERS names a parameter twice/,
    ],
    ["an organization without Auth0", { AUTH0_ORGANIZATION: "org_a" }, /AUTH0_DOMAIN is missing/],
    ["a short token for /metrics", { METRICS_TOKEN: "guessable" }, /METRICS_TOKEN must have at least 16/],
    [
      "a token for /metrics that no header can carry",
      { METRICS_TOKEN: "schlüssel-schlüssel" },
      /METRICS_TOKEN must have .* ASCII/,
    ],
    ["a token in two parts", { METRICS_TOKEN: "0123456789 abcdef" }, /METRICS_TOKEN must have .* no space/],
    [
      "a trace collector without its scheme",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4318" },
      /OTEL_EXPORTER_OTLP_ENDPOINT must be an http\(s\) URL/,
    ],
    [
      "a list of Auth0 organizations",
      { AUTH0_ORGANIZATION: "org_a,org_b" },
      /AUTH0_ORGANIZATION must be the id of one organization/,
    ],
  ];
  for (const [name, environment, expected] of bad)
    test(`refuses ${name}`, () => {
      const { message, problems = [] } = errorOf(environment) ?? {};
      assert.match(message ?? "", expected);
      for (const { setting, problem, remedy } of problems) {
        assert.match(setting, /^[A-Z][A-Z0-9_]+$/);
        assert.match(problem, /^[a-z].*[^.:]$/);
        assert.match(remedy, /^[a-z].*[^.:]$/);
      }
    });

  test("scopes are read from every claim that may hold them, unless OIDC_SCOPES_FROM chooses", () => {
    const sources = (environment: Record<string, string>) =>
      loadConfig({ ...GOOD, ...environment }).identityProviders[0].scopeSources;
    const all = ["response", "scope", "scp", "permissions"];
    assert.deepEqual(sources({}), { kind: "provider", tokens: all });
    assert.deepEqual(sources({ SCOPES_FROM: all.join(" , ") }), { kind: "provider", tokens: all });
    assert.deepEqual(sources({ SCOPES_FROM: "consent" }), { kind: "consent" });
    assert.deepEqual(
      sources({
        SCOPES_FROM: "claim,scp",
        SCOPE_CLAIM: "roles",
        SCOPE_CLAIM_MAP: '{"a b":["x","y"],"c":[]}',
      }),
      {
        kind: "provider",
        tokens: ["scp"],
        claim: {
          path: "roles",
          map: new Map([
            ["a b", ["x", "y"]],
            ["c", []],
          ]),
        },
      },
    );
  });

  test("everybody is admitted by default, and e-mail domains are compared without case", () => {
    assert.deepEqual(loadConfig(GOOD).membership, {
      organizations: [],
      organizationClaim: "org_id",
      emailDomains: [],
    });
    const { membership } = loadConfig({
      ...GOOD,
      ALLOWED_ORGANIZATIONS: "Acme, other",
      ORGANIZATION_CLAIM: "https://example.com/org",
      ALLOWED_EMAIL_DOMAINS: "Example.com",
    });
    assert.deepEqual(membership, {
      organizations: ["Acme", "other"],
      organizationClaim: "https://example.com/org",
      emailDomains: ["example.com"],
    });
  });

  test("Auth0's organization is asked for upstream, and required of who comes back", () => {
    const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, ...rest } = GOOD;
    const config = loadConfig({
      ...rest,
      AUTH0_DOMAIN: "tenant.eu.auth0.com",
      AUTH0_CLIENT_ID: "a",
      AUTH0_CLIENT_SECRET: "b",
      AUTH0_AUDIENCE: "https://api.example.com",
      AUTH0_ORGANIZATION: "org_a",
    });
    assert.equal(config.identityProviders[0].organization, "org_a");
    assert.equal(config.membership.auth0Organization, "org_a");
  });

  test("accepts http on the three names of this computer, and drops a trailing slash", () => {
    for (const host of ["localhost", "127.0.0.1", "[::1]"])
      assert.equal(loadConfig({ ...GOOD, BASE_URL: `http://${host}:3000/` }).baseUrl, `http://${host}:3000`);
  });

  test("keeps the issuer byte for byte", () => {
    assert.equal(
      loadConfig({ ...GOOD, OIDC_ISSUER: "https://a.example/" }).identityProviders[0].issuer,
      "https://a.example/",
    );
  });

  const quoted: Array<[string, string]> = [
    ["OIDC_CLIENT_SECRET", '"a-secret"'],
    ["OIDC_CLIENT_ID", "'proxy'"],
    ["OIDC_ISSUER", '"https://id.example.com"'],
    ["OIDC_SCOPES", '"openid email"'],
    ["REDIS_URL", '"redis://localhost:6379"'],
    ["CLIENTS", "'[]'"],
    ["ALLOWED_EMAIL_DOMAINS", '"example.com"'],
  ];
  for (const [name, value] of quoted)
    test(`names the quotes of ${name} that docker run --env-file keeps, and no other problem`, () => {
      const message = problemsOf({ ...GOOD, [name]: value });
      assert.match(
        message,
        new RegExp(`^1 setting to fix\\.\n  - ${name} begins and ends with a quotation mark`),
      );
      assert.doesNotMatch(message, /a-secret/);
    });

  test("keeps quotes in settings that work with them, and in SECRET_KEY, which has encrypted records with them", () => {
    const key = `"${GOOD.SECRET_KEY}"`;
    const config = loadConfig({ ...GOOD, SERVER_NAME: '"Weather"', SECRET_KEY: key });
    assert.deepEqual([config.brand.name, config.secretKeys], ['"Weather"', [key]]);
  });

  test("a line break at the end of a value is removed; one within it is a problem", () => {
    for (const end of ["\n", "\r\n", " "])
      assert.deepEqual(
        loadConfig({ ...GOOD, OIDC_CLIENT_SECRET: `a-secret${end}` }).identityProviders[0].credential,
        { kind: "secret", secret: "a-secret" },
      );
    for (const name of ["OIDC_CLIENT_SECRET", "OIDC_CLIENT_ID", "OIDC_ISSUER", "BASE_URL"])
      assert.match(
        problemsOf({ ...GOOD, [name]: "https://a.example\r\nb" }),
        new RegExp(`${name} has a line break`),
      );
  });

  test("no problem message repeats a secret", () => {
    assert.doesNotMatch(problemsOf({ SECRET_KEY: "hunter2", BASE_URL: "x" }), /hunter2/);
  });
});
