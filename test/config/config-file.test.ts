/** CONFIG_FILE: the same settings by other names. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { secretsOf } from "../../src/cli/doctor/report.ts";
import { loadConfig } from "../../src/config/config.ts";
import { STAFF, useConfigFile } from "./written-config-file.ts";

const { folder, environment, write, load, problemsOf } = useConfigFile();

describe("a configuration file", () => {
  test("describes the identity provider as the environment does", () => {
    const { identityProviders, membership, resources } = load(`${STAFF}    label: Staff
    audience: https://api.example.com
    emailDomains: [Acme.com, acme.de]
    scopes: [openid, email]
    scopesFrom: [scope, claim]
    scopeClaim: roles
    scopeClaimMap: { forecaster: ["weather:read"] }
    authorizationParameters: { access_type: offline, prompt: "a b&c" }
    logoutTokenExp: optional
    subjectTokenType: urn:acme:access-token
    exchangeClientId: exchanger
    exchangeClientSecret: a-secret-of-the-exchanger
    tokenEndpointAuthMethod: client_secret_basic
    timeoutSeconds: 5
resources:
  /mcp:
    tools: ./own/tools.js
`);
    assert.deepEqual(identityProviders, [
      {
        id: "staff",
        label: "Staff",
        preset: "oidc",
        issuer: "https://acme.okta.com",
        clientId: "proxy",
        credential: { kind: "secret", secret: "a-secret-of-staff" },
        audience: "https://api.example.com",
        scopes: ["openid", "email"],
        scopeSources: {
          kind: "provider",
          tokens: ["scope"],
          claim: { path: "roles", map: new Map([["forecaster", ["weather:read"]]]) },
        },
        authorizationParameters: { access_type: "offline", prompt: "a b&c" },
        logoutTokenExp: "optional",
        tokenEndpointAuthMethod: "client_secret_basic",
        pushedAuthorizationRequests: "auto",
        subjectTokenType: "urn:acme:access-token",
        exchangeClient: {
          clientId: "exchanger",
          credential: { kind: "secret", secret: "a-secret-of-the-exchanger" },
        },
        timeoutSeconds: 5,
        emailDomains: ["acme.com", "acme.de"],
      },
    ]);
    assert.deepEqual(membership.emailDomains, ["acme.com", "acme.de"]);
    assert.deepEqual(resources, [
      { path: "/mcp", name: "MCP server", source: { kind: "tools", module: join(folder, "own/tools.js") } },
    ]);
  });

  test("gives the same configuration as the environment, but for the provider's name", () => {
    const { CONFIG_FILE, ...rest } = environment;
    const provider = { OIDC_ISSUER: "https://acme.okta.com", OIDC_CLIENT_ID: "proxy" };
    const fromEnvironment = loadConfig({ ...rest, ...provider, OIDC_CLIENT_SECRET: rest.STAFF_SECRET });
    const fromFile = load(STAFF);
    const [{ id, ...theOne }] = fromFile.identityProviders;
    const [{ id: byDefault, ...theOther }] = fromEnvironment.identityProviders;
    assert.deepEqual([id, byDefault], ["staff", "default"]);
    assert.deepEqual(
      { ...fromFile, identityProviders: theOne },
      { ...fromEnvironment, identityProviders: theOther },
    );
  });

  test("may be written in one line, with variables in it", () => {
    const flow = "{ issuer: https://acme.okta.com, clientId: '${ID}', clientSecret: ${STAFF_SECRET} }";
    const [provider] = load(`identityProviders: { staff: ${flow} }`, { ID: "a-${b}" }).identityProviders;
    assert.deepEqual(
      [provider.clientId, provider.credential],
      ["a-${b}", { kind: "secret", secret: "a-secret-of-staff" }],
    );
  });

  test("takes the value of a variable as it is: nothing of it is YAML, nor another variable", () => {
    for (const value of ["a: b", "*x", "{ }", "${STAFF_SECRET}", "x # y", '"'])
      assert.deepEqual(load(STAFF, { STAFF_SECRET: value }).identityProviders[0].credential, {
        kind: "secret",
        secret: value,
      });
  });

  test("may hold a resource alone, or an identity provider alone", () => {
    const provider = { OIDC_ISSUER: "https://a.example", OIDC_CLIENT_ID: "a", OIDC_CLIENT_SECRET: "b" };
    const { identityProviders, resources } = load("resources: { /mcp: { tools: /t.js } }", provider);
    const source = { kind: "tools", module: "/t.js" };
    assert.deepEqual([identityProviders[0].id, resources[0].source], ["default", source]);
    assert.deepEqual(load(STAFF, { TOOLS_MODULE: "/t.js" }).resources[0].source, source);
  });

  test("begins with a byte order mark, and has lines that end as on Windows", () => {
    const windows = `\ufeff${STAFF}    clientid: x\n`.replaceAll("\n", "\r\n");
    assert.deepEqual(problemsOf(windows), [
      'server.yaml:6: identityProviders.staff has an unknown key "clientid": write clientId if you mean that, or remove it',
    ]);
    assert.equal(load(`\ufeff${STAFF}`.replaceAll("\n", "\r\n")).identityProviders[0].clientId, "proxy");
  });
});

describe("a configuration file with several identity providers", () => {
  const THREE = `identityProviders:
  staff: { issuer: https://acme.okta.com, clientId: proxy, clientSecret: \${STAFF_SECRET}, label: Staff, emailDomains: [acme.com] }
  partners: { issuer: https://login.microsoftonline.com/{tenantid}/v2.0, clientId: proxy2, clientSecret: s2, tenants: [3AA4A235-b6e2-48d5-9195-7fcf05b459b0] }
  customers: { domain: Acme.eu.auth0.com, clientId: proxy3, clientSecret: s3, audience: https://api, organization: org_a }
`;

  test("lists them in order, each with its own settings", () => {
    const { identityProviders, membership } = load(THREE);
    const told = identityProviders.map(({ id, preset, issuer, clientId, audience, tenants }) => [
      ...[id, preset, issuer, clientId, audience, tenants],
    ]);
    assert.deepEqual(told, [
      ["staff", "oidc", "https://acme.okta.com", "proxy", undefined, undefined],
      [
        "partners",
        "oidc",
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        "proxy2",
        undefined,
        ["3aa4a235-b6e2-48d5-9195-7fcf05b459b0"],
      ],
      ["customers", "auth0", "https://acme.eu.auth0.com/", "proxy3", "https://api", undefined],
    ]);
    assert.deepEqual(membership.emailDomains, ["acme.com"]);
    assert.deepEqual(
      [...(membership.ofIssuers ?? [])],
      [
        ["https://acme.okta.com", { emailDomains: ["acme.com"] }],
        ["https://login.microsoftonline.com/3aa4a235-b6e2-48d5-9195-7fcf05b459b0/v2.0", { emailDomains: [] }],
        ["https://acme.eu.auth0.com/", { emailDomains: [], auth0Organization: "org_a" }],
      ],
    );
  });

  test("leaves nothing of them to the environment, except whom all of them admit", () => {
    const both = { OIDC_CLIENT_ID: "other", AUTH0_DOMAIN: "t.auth0.com", UPSTREAM_TIMEOUT_SECONDS: "5" };
    const told = (name: string) =>
      `${name} is set in the environment, and server.yaml describes 3 identity providers: say all of it in one of the two places`;
    assert.deepEqual(problemsOf(THREE, both).sort(), Object.keys(both).map(told).sort());
    assert.deepEqual(problemsOf(THREE, { ALLOWED_EMAIL_DOMAINS: "acme.de" }), [
      "server.yaml:2: identityProviders.staff.emailDomains is set in the environment, too, as ALLOWED_EMAIL_DOMAINS: keep one of the two",
    ]);
    const without = THREE.replace(", emailDomains: [acme.com]", "");
    const { identityProviders } = load(without, { ALLOWED_EMAIL_DOMAINS: "acme.de" });
    assert.deepEqual(
      identityProviders.map(({ emailDomains }) => emailDomains),
      [["acme.de"], ["acme.de"], ["acme.de"]],
    );
  });

  test("many tenants may be said in the environment, too", () => {
    const { CONFIG_FILE, ...rest } = environment;
    const issuer = "https://login.microsoftonline.com/{tenantid}/v2.0";
    const provider = { OIDC_ISSUER: issuer, OIDC_CLIENT_ID: "a", OIDC_CLIENT_SECRET: "b" };
    assert.throws(() => loadConfig({ ...rest, ...provider }), /OIDC_TENANTS is missing/);
    const OIDC_TENANTS = "3aa4a235-b6e2-48d5-9195-7fcf05b459b0";
    const [{ tenants }] = loadConfig({ ...rest, ...provider, OIDC_TENANTS }).identityProviders;
    assert.deepEqual(tenants, [OIDC_TENANTS]);
  });

  test("gives the secrets of all of them to be redacted in reports", () => {
    write(THREE.replace("s2", "secret-of-partners").replace("s3", "secret-of-customers"));
    const secrets = secretsOf(environment);
    for (const each of [environment.STAFF_SECRET, "secret-of-partners", "secret-of-customers"])
      assert.ok(secrets.includes(each), each);
  });
});

const SECRETS = { STAFF_SECRET: "a-secret", PARTNERS_SECRET: "another", CUSTOMERS_SECRET: "a-third" };

test("examples/server.yaml and docs/several-providers.md are configurations that the server starts with", () => {
  const names = (content: string) => load(content, SECRETS).identityProviders.map(({ id }) => id);
  assert.deepEqual(names(readFileSync("examples/server.yaml", "utf8")), ["staff", "partners", "customers"]);
  const guide = readFileSync("docs/several-providers.md", "utf8");
  const [, example = ""] = /```yaml\n(.*?)```/s.exec(guide) ?? [];
  assert.deepEqual(names(example), ["staff", "customers"]);
});

test("the example in docs/settings.md is a configuration that the server starts with", () => {
  const [, example = ""] = /```yaml\n(.*?)```/s.exec(readFileSync("docs/settings.md", "utf8")) ?? [];
  const { identityProviders, resources } = load(example, SECRETS);
  assert.deepEqual(identityProviders[0].credential, { kind: "secret", secret: "a-secret" });
  assert.ok(resources[0].source.kind === "tools" && resources[0].source.module?.startsWith(folder));
});
