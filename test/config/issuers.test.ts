/** `issuers` in CONFIG_FILE: what each key means, and every mistake with its line and what to do about it. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { readParts } from "../../src/cli/doctor/deployment.ts";
import { checkFeatures } from "../../src/cli/doctor/program.ts";
import { secretsOf } from "../../src/cli/doctor/report.ts";
import { checkSettings } from "../../src/cli/doctor/settings.ts";
import { type Config, ConfigError, loadConfig } from "../../src/config/config.ts";
import { fits } from "../../src/issuers/claim-rule.ts";
import type { AccessTokenIssuer, IdJagIssuer } from "../../src/issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { FEATURES } from "../doctor/support.ts";
import { assertProblems } from "./written-config-file.ts";

const folder = mkdtempSync(join(tmpdir(), "issuers-"));
after(() => rmSync(folder, { recursive: true }));
const FILE = join(folder, "server.yaml");

const ENVIRONMENT = {
  BASE_URL: "https://mcp.example.com",
  STORE: "memory",
  SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
  OIDC_ISSUER: "https://acme.okta.com/oauth2/default",
  OIDC_CLIENT_ID: "proxy",
  OIDC_CLIENT_SECRET: "a-secret-of-the-proxy",
  LOOKUP_SECRET: "a-secret-of-introspection",
  CONFIG_FILE: FILE,
};

function load(content: string, changes: Record<string, undefined> = {}): Config {
  writeFileSync(FILE, content, { mode: 0o600 });
  return loadConfig({ ...ENVIRONMENT, ...changes });
}

function problemsOf(content: string): string[] {
  try {
    load(content);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    for (const { problem, remedy } of error.problems) {
      assert.match(problem, /^[a-z]/);
      assert.match(remedy, /^[a-z].*[^.:]$/);
    }
    return error.message
      .split("\n")
      .filter((line) => line.startsWith("  - "))
      .map((line) => line.slice(4).replaceAll(FILE, "server.yaml"));
  }
}

const DEFAULTS = { algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };

describe("a trusted issuer", () => {
  test("of access tokens, with the least that is needed", () => {
    const { issuers } = load(`issuers:
  - { issuer: https://tenant.eu.auth0.com/, accept: access-token, scopes: { "read:all": [weather:read] } }
`);
    assert.deepEqual(issuers, [
      {
        ...DEFAULTS,
        issuer: "https://tenant.eu.auth0.com/",
        accept: "access-token",
        types: ["at+jwt"],
        scopeClaims: ["scope", "scp", "permissions"],
        scopes: new Map([["read:all", ["weather:read"]]]),
      },
    ]);
  });

  test("of access tokens, with everything", () => {
    const { issuers } = load(`issuers:
  - issuer: http://localhost:8080/realms/acme
    accept: access-token
    jwksUri: http://localhost:8080/keys?use=sig
    algorithms: [RS256]
    timeoutSeconds: 3
    resources: [/mcp]
    audience: https://api.example.com
    types: [application/at+JWT, JWT]
    scopeClaims: [realm_access.roles]
    scopes:
      reader: [weather:read]
    introspection: { endpoint: https://idp.example.com/introspect, clientId: mcp, clientSecret: \${LOOKUP_SECRET} }
`);
    assert.deepEqual(issuers, [
      {
        issuer: "http://localhost:8080/realms/acme",
        accept: "access-token",
        jwksUri: "http://localhost:8080/keys?use=sig",
        algorithms: ["RS256"],
        timeoutSeconds: 3,
        resources: ["/mcp"],
        audience: "https://api.example.com",
        types: ["at+jwt", "jwt"],
        scopeClaims: ["realm_access.roles"],
        scopes: new Map([["reader", ["weather:read"]]]),
        introspection: {
          endpoint: "https://idp.example.com/introspect",
          client: {
            clientId: "mcp",
            credential: { kind: "secret", secret: "a-secret-of-introspection" },
            tokenEndpointAuthMethod: "client_secret_basic",
          },
        },
      },
    ]);
  });

  test("of opaque tokens, looked up with a private key that lies beside the file", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(join(folder, "lookup.pem"), privateKey.export({ format: "pem", type: "pkcs8" }));
    const { issuers } = load(`issuers:
  - issuer: https://idp.example.com
    accept: access-token
    scopes: { reader: [weather:read] }
    introspection: { clientId: mcp, privateKeyFile: lookup.pem, privateKeyId: key-1 }
`);
    const [{ introspection }] = issuers as [AccessTokenIssuer];
    assert.deepEqual(introspection?.client.credential, {
      kind: "private_key",
      path: join(folder, "lookup.pem"),
      keyId: "key-1",
    });
  });

  test("of identity assertions", () => {
    const { issuers } = load(`issuers:
  - { issuer: https://acme.okta.com, accept: id-jag }
  - { issuer: https://beta.okta.com, accept: id-jag, subject: email, publicClients: true }
`);
    assert.deepEqual(issuers, [
      {
        ...DEFAULTS,
        issuer: "https://acme.okta.com",
        accept: "id-jag",
        subject: "sub",
        publicClients: false,
      },
      {
        ...DEFAULTS,
        issuer: "https://beta.okta.com",
        accept: "id-jag",
        subject: "email",
        publicClients: true,
      },
    ]);
  });

  test("that is an identity provider vouches for a domain that it shares with another one", () => {
    const { issuers } = load(
      `identityProviders:
  acme: { issuer: https://acme.okta.com, clientId: a, clientSecret: a-secret-of-acme, emailDomains: [shared.com] }
  beta: { issuer: https://beta.okta.com, clientId: a, clientSecret: a-secret-of-beta, emailDomains: [Shared.com, beta.com] }
issuers:
  - { issuer: https://acme.okta.com, accept: id-jag }
`,
      { OIDC_ISSUER: undefined, OIDC_CLIENT_ID: undefined, OIDC_CLIENT_SECRET: undefined },
    );
    assert.deepEqual((issuers as IdJagIssuer[])[0]?.emailDomainsOfOthers, ["beta.com"]);
  });

  test("of people vouches for addresses in its own domains, and not in an identity provider's", () => {
    const { issuers } = load(
      `identityProviders:
  acme: { issuer: https://acme.okta.com, clientId: a, clientSecret: a-secret-of-acme, emailDomains: [Acme.com] }
  beta: { issuer: https://beta.okta.com, clientId: a, clientSecret: a-secret-of-beta, emailDomains: [beta.com] }
issuers:
  - { issuer: https://acme.okta.com, accept: id-jag }
  - { issuer: https://partner.example, accept: id-jag, vouchedEmailDomains: [Partner.example] }
`,
      { OIDC_ISSUER: undefined, OIDC_CLIENT_ID: undefined, OIDC_CLIENT_SECRET: undefined },
    );
    assert.deepEqual(
      (issuers as IdJagIssuer[]).map(({ vouchedEmailDomains, emailDomainsOfOthers }) => [
        vouchedEmailDomains,
        emailDomainsOfOthers,
      ]),
      [
        [undefined, ["beta.com"]],
        [["partner.example"], ["acme.com", "beta.com"]],
      ],
    );
  });

  test("of workloads, by their subjects first and then by their claims", () => {
    const [issuer, ...others] = load(`issuers:
  - issuer: https://token.actions.githubusercontent.com
    accept: workload
    audience: https://mcp.example.com
    subjects:
      "repo:acme/*:ref:refs/heads/main": { scopes: [weather:read], resources: [/mcp] }
    rules:
      - claims: { repository: acme/weather, ref: [refs/heads/main, refs/tags/v*] }
        scopes: [weather:write]
`).issuers;
    assert.deepEqual(others, []);
    assert.ok(issuer?.accept === "workload");
    assert.equal(issuer.audience, "https://mcp.example.com");
    const [bySubject, byClaims] = issuer.rules;
    assert.deepEqual([bySubject?.scopes, bySubject?.resources], [["weather:read"], ["/mcp"]]);
    assert.deepEqual([byClaims?.scopes, byClaims?.resources], [["weather:write"], undefined]);
    const isNamed = (rule: typeof bySubject, claims: Record<string, unknown>) =>
      rule?.claims.every((claim) => fits(claim, claims));
    assert.ok(isNamed(bySubject, { sub: "repo:acme/weather:ref:refs/heads/main" }));
    assert.ok(!isNamed(bySubject, { sub: "repo:evil/acme/x:ref:refs/heads/main" }));
    assert.ok(isNamed(byClaims, { repository: "acme/weather", ref: "refs/tags/v2" }));
    assert.ok(!isNamed(byClaims, { repository: "acme/weather", ref: "refs/heads/other" }));
    assert.ok(!isNamed(byClaims, { repository: "acme/other", ref: "refs/tags/v2" }));
  });

  test("may be believed for access tokens and for assertions, in entries of their own", () => {
    const { issuers } = load(`issuers:
  - { issuer: https://acme.okta.com, accept: id-jag }
  - { issuer: https://acme.okta.com, accept: access-token, scopes: { a: [weather:read] } }
`);
    assert.deepEqual(
      issuers.map(({ accept }) => accept),
      ["id-jag", "access-token"],
    );
  });

  test("none is trusted without a file, or without `issuers` in it", () => {
    const { CONFIG_FILE, ...environment } = ENVIRONMENT;
    assert.deepEqual(loadConfig(environment).issuers, []);
    assert.deepEqual(load("resources: { /mcp: { tools: ./t.js } }").issuers, []);
  });
});

describe("what is wrong with trusted issuers", () => {
  const A = "https://a.example";
  const tokens = (more: string) =>
    `issuers:\n  - issuer: ${A}\n    accept: access-token\n    scopes: { a: [weather:read] }\n${more}`;
  const workload = (more: string) => `issuers:\n  - issuer: ${A}\n    accept: workload\n${more}`;
  const idJag = (issuer: string) => `issuers:\n  - accept: id-jag\n    issuer: ${issuer}\n`;
  const algorithms = "ES256, ES384, ES512, EdDSA, Ed25519, PS256, PS384, PS512, RS256, RS384, RS512";

  const bad: Array<[what: string, content: string, ...problems: Array<string | RegExp>]> = [
    ["no list", "issuers: { a: b }", /^server\.yaml:1: issuers must be a list/],
    ["an empty list", "issuers: []", "server.yaml:1: issuers is empty: fill it or leave it out"],
    ["nothing", "issuers:", /^server\.yaml:1: issuers must be a list/],
    ["a word in the list", "issuers: [a]", /^server\.yaml:1: the issuer must be keys with values/],
    [
      "no purpose",
      `issuers:\n  - issuer: ${A}\n`,
      "server.yaml:2: issuers.accept is missing: write one of access-token, id-jag, workload",
    ],
    [
      "an unknown purpose",
      `issuers:\n  - issuer: ${A}\n    accept: jwt\n`,
      "server.yaml:3: issuers.accept must be one of access-token, id-jag, workload: write one of them",
    ],
    ["no issuer", "issuers:\n  - accept: id-jag\n", "server.yaml:2: issuers.issuer is missing: add it"],
    [
      "an issuer by http",
      idJag("http://a.example"),
      /^server\.yaml:3: issuers\.issuer must be https; http is accepted on localhost/,
    ],
    ["an issuer that is no URL", idJag("a.example"), /^server\.yaml:3: issuers\.issuer is not a URL/],
    [
      "an issuer with a query",
      idJag("https://a.example?x"),
      /^server\.yaml:3: issuers\.issuer must have no query/,
    ],
    [
      "an issuer with a space",
      idJag('" https://a.example"'),
      "server.yaml:3: issuers.issuer has a space in it: remove it",
    ],
    [
      "the address of metadata for an issuer",
      idJag(`${A}/.well-known/openid-configuration`),
      `server.yaml:3: issuers.issuer must be the issuer itself, not the address of its discovery document: set it to ${A}`,
    ],
    [
      "this server",
      idJag("https://mcp.example.com"),
      "server.yaml:2: the issuer is this server itself (BASE_URL): name the one whose tokens are meant, or remove it",
    ],
    [
      "programs of the identity provider",
      `issuers:\n  - issuer: https://acme.okta.com/oauth2/default\n    accept: workload\n    subjects: { a: { scopes: [weather:read] } }\n`,
      "server.yaml:2: the issuer is the identity provider, too: what it says of programs could pass for people: name a platform that nobody signs in at, or use accept: access-token",
    ],
    [
      "this server with a slash",
      idJag("https://mcp.example.com/"),
      /^server\.yaml:2: the issuer is this server itself/,
    ],
    [
      "misspelt keys",
      tokens("    audiance: x\n    introspection: { clientID: a, clientSecret: b, clientId: c }\n"),
      'server.yaml:5: the issuer has an unknown key "audiance": write audience if you mean that, or remove it',
      'server.yaml:6: issuers.introspection has an unknown key "clientID": write clientId if you mean that, or remove it',
    ],
    [
      "keys of another purpose",
      `${idJag(A)}    subjects: {}\n    scopes: {}\n`,
      'server.yaml:4: the issuer has the key "subjects", which is one of accept: workload: remove it, or make two entries of it',
      'server.yaml:5: the issuer has the key "scopes", which is one of accept: access-token: remove it, or make two entries of it',
    ],
    [
      "algorithms without a private key",
      tokens("    algorithms: [RS256, HS256, none]\n"),
      `server.yaml:5: issuers.algorithms is no algorithm that signs with a private key: write one of ${algorithms}`,
      `server.yaml:5: issuers.algorithms is no algorithm that signs with a private key: write one of ${algorithms}`,
    ],
    [
      "empty lists",
      tokens("    algorithms: []\n    types: []\n    scopeClaims: []\n    resources: []\n"),
      "server.yaml:5: issuers.algorithms is empty: fill it or leave it out",
      "server.yaml:6: issuers.types is empty: fill it or leave it out",
      "server.yaml:7: issuers.scopeClaims is empty: fill it or leave it out",
      "server.yaml:8: issuers.resources is empty: fill it or leave it out",
    ],
    [
      "access tokens without a map of scopes",
      `issuers:\n  - { issuer: ${A}, accept: access-token }\n`,
      "server.yaml:2: issuers.scopes is missing: add it",
    ],
    [
      "an empty map of scopes, and a scope that stands for nothing",
      `issuers:\n  - { issuer: ${A}, accept: access-token, scopes: {} }\n  - issuer: https://b.example\n    accept: access-token\n    scopes:\n      a: []\n`,
      "server.yaml:2: issuers.scopes is empty: fill it or leave it out",
      "server.yaml:6: issuers.scopes.a is empty: fill it or leave it out",
    ],
    [
      "a type of other JWTs",
      tokens("    types: [oauth-id-jag+jwt]\n"),
      "server.yaml:5: issuers.types is not the typ of an access token: write at+jwt or JWT, or none for tokens without one",
    ],
    [
      "a resource that is not served",
      tokens("    resources:\n      - /mcp\n      - /crm/mcp\n"),
      "server.yaml:7: issuers.resources is not the path of a resource of this server: write /mcp",
    ],
    [
      "values out of bounds",
      tokens(
        "    timeoutSeconds: 0\n    jwksUri: http://a.example/keys\n    introspection: { endpoint: ftp://a, clientId: a, clientSecret: b }\n",
      ),
      "server.yaml:5: issuers.timeoutSeconds must be a whole number from 1 to 60: write digits alone, such as 10",
      "server.yaml:6: issuers.jwksUri must be an https URL: write it in full; http is accepted on this computer only",
      "server.yaml:7: issuers.introspection.endpoint must be an https URL: write it in full; http is accepted on this computer only",
    ],
    [
      "values of other kinds",
      `${idJag(A)}    publicClients: "yes"\n    subject: oid\n    timeoutSeconds: "5"\n`,
      "server.yaml:4: issuers.publicClients must be true or false: write one of them, without quotes",
      "server.yaml:5: issuers.subject must be one of sub, email: write one of them",
      "server.yaml:6: issuers.timeoutSeconds must be a number: write digits without quotes",
    ],
    [
      "what is no domain of e-mail addresses",
      `${idJag(A)}    vouchedEmailDomains: ["@acme.com"]\n`,
      "server.yaml:4: issuers.vouchedEmailDomains is no host name: write the part of the addresses after the @, without wildcards",
    ],
    [
      "introspection with two proofs of who asks, one of which proves nothing",
      tokens(
        "    introspection: { clientId: a, clientSecret: b, privateKeyFile: none.pem, tokenEndpointAuthMethod: by_pigeon }\n",
      ),
      "server.yaml:5: issuers.introspection.tokenEndpointAuthMethod must be one of client_secret_post, client_secret_basic, client_secret_basic_plain: write one of them",
    ],
    [
      "introspection with two proofs of who asks",
      tokens(
        "    introspection: { clientId: a, clientSecret: b, privateKeyFile: none.pem, privateKeyId: k }\n",
      ),
      "server.yaml:5: issuers.introspection.privateKeyFile is set beside clientSecret: keep one of the two",
      "server.yaml:5: issuers.introspection.privateKeyId counts only with privateKey or privateKeyFile: set one of them",
    ],
    [
      "introspection with a key file that is not there",
      tokens("    introspection: { clientId: a, privateKeyFile: none.pem }\n"),
      /^server\.yaml:5: issuers\.introspection\.privateKeyFile names .*none\.pem, which does not exist: create it/,
    ],
    [
      "introspection without credentials, or with a variable that is not set",
      tokens("    introspection:\n      clientSecret: ${UNSET}\n"),
      "server.yaml:5: issuers.introspection.clientId is missing: add it",
      /^server\.yaml:6: issuers\.introspection\.clientSecret has \$\{UNSET\}, .* is not set/,
    ],
    [
      "an issuer twice for one purpose",
      `${idJag(A)}  - accept: id-jag\n    issuer: ${A}\n`,
      "server.yaml:5: issuers.issuer is in two entries with accept: id-jag: make one of them",
    ],
    [
      "an issuer for people and for programs",
      `${idJag(A)}  - accept: workload\n    issuer: ${A}\n    subjects: { a: { scopes: [weather:read] } }\n`,
      "server.yaml:5: issuers.issuer is in an entry with accept: id-jag, too: what it says of programs could pass for people: keep one of them",
    ],
    [
      "two issuers of opaque tokens for one resource",
      `${tokens("    introspection: { clientId: a, clientSecret: b }\n")}  - issuer: https://b.example
    accept: access-token
    scopes: { a: [weather:read] }
    resources: [/mcp]
    introspection: { clientId: a, clientSecret: b }
`,
      "server.yaml:10: issuers.introspection is a second one for /mcp: an opaque token does not say whose it is: keep one of them",
    ],
    [
      "workloads that nothing names",
      workload(""),
      "server.yaml:2: the issuer has neither subjects nor rules: say which workloads may do what",
    ],
    [
      "empty rules",
      workload("    subjects: {}\n    rules: []\n"),
      "server.yaml:4: issuers.subjects is empty: fill it or leave it out",
      "server.yaml:5: issuers.rules is empty: fill it or leave it out",
    ],
    [
      "a rule without claims, without scopes",
      workload(
        "    rules:\n      - scopes: [weather:read]\n      - claims: {}\n        scopes: [weather:read]\n      - claims: { a: b }\n",
      ),
      "server.yaml:5: issuers.rules.claims is missing: add it",
      "server.yaml:6: issuers.rules.claims is empty: fill it or leave it out",
      "server.yaml:8: issuers.rules.scopes is missing: add it",
    ],
    [
      "misspelt keys of rules",
      workload(
        "    subjects:\n      a: { scopes: [weather:read], resource: [/mcp] }\n    rules:\n      - { claim: { a: b }, claims: { a: b }, scopes: [weather:read] }\n",
      ),
      'server.yaml:5: issuers.subjects.a has an unknown key "resource": write resources if you mean that, or remove it',
      'server.yaml:7: issuers.rules has an unknown key "claim": write claims if you mean that, or remove it',
    ],
    [
      "a claim that is no text",
      workload(
        "    rules:\n      - claims: { id: 5 }\n        scopes: [weather:read]\n      - claims: { id: [5], ref: [] }\n        scopes: [weather:read]\n",
      ),
      "server.yaml:5: issuers.rules.claims.id is none of what it can be: write a text, or a list of texts, in quotes",
      "server.yaml:7: issuers.rules.claims.id must be text: put it in quotes",
      "server.yaml:7: issuers.rules.claims.ref is empty: fill it or leave it out",
    ],
    [
      "rules that name everybody",
      workload(
        '    subjects:\n      "*": { scopes: [weather:read] }\n    rules:\n      - claims: { a: "**", b: [x, "*"] }\n        scopes: [weather:read]\n',
      ),
      "server.yaml:5: issuers.subjects.* names every workload of the issuer: write more than * for one of its claims",
      "server.yaml:7: issuers.rules.claims names every workload of the issuer: write more than * for one of its claims",
    ],
    [
      "a claim by the name of a prototype",
      workload("    rules:\n      - claims: { a: b, __proto__: c }\n        scopes: [weather:read]\n"),
      "server.yaml:5: issuers.rules.claims.__proto__ is no name of a claim: remove it",
    ],
  ];
  for (const [what, content, ...expected] of bad)
    test(what, () => assertProblems(problemsOf(content), expected));

  test("the server does not start with a scope that no tool declares", async () => {
    for (const [accept, content] of [
      [
        "access-token",
        `issuers:\n  - { issuer: ${A}, accept: access-token, scopes: { a: [weather:raed] } }\n`,
      ],
      ["workload", workload("    subjects: { a: { scopes: [weather:raed] } }\n")],
    ]) {
      const finding = await checkFeatures(load(content ?? ""), FEATURES);
      assert.match(
        finding?.says ?? "",
        new RegExp(
          `entry for ${A} \\(issuers, accept: ${accept}\\) names the scope "weather:raed", which is not declared`,
        ),
      );
    }
    load(`issuers:\n  - { issuer: ${A}, accept: access-token, scopes: { a: [weather:read] } }\n`);
    assert.equal((await checkFeatures(loadConfig(ENVIRONMENT), FEATURES))?.status, "ok");
  });

  test("a secret in the file is redacted in reports, and a file that others may read is reported", () => {
    load(tokens("    introspection: { clientId: a, clientSecret: a-literal-secret }\n"));
    assert.ok(secretsOf(ENVIRONMENT).includes("a-literal-secret"));
    const warns = () =>
      checkSettings(ENVIRONMENT, readParts(ENVIRONMENT)).some(
        ({ check }) => check === "settings.readable_secret",
      );
    assert.equal(warns(), false);
    chmodSync(FILE, 0o644);
    assert.equal(warns(), true);
    load(tokens("    introspection: { clientId: a, clientSecret: ${LOOKUP_SECRET} }\n"));
    assert.ok(secretsOf(ENVIRONMENT).includes("a-secret-of-introspection"));
    assert.equal(warns(), false);
  });

  test("both secrets of a client in CLIENTS are redacted in reports", () => {
    const CLIENTS =
      '[{"client_secret":["the-first-of-them","the-second-of-them"]},{"client_secret": "alone-here"}]';
    const secrets = secretsOf({ CLIENTS });
    for (const secret of ["the-first-of-them", "the-second-of-them", "alone-here"])
      assert.ok(secrets.includes(secret));
  });
});

describe("the examples in docs/settings.md", () => {
  const text = readFileSync("docs/settings.md", "utf8");

  test("issuers that the server starts with", async () => {
    const examples = [...text.matchAll(/^```yaml\n(issuers:.*?)^```/gms)].map(([, example = ""]) => example);
    assert.equal(examples.length, 1);
    const config = load(examples[0] ?? "");
    assert.deepEqual(
      config.issuers.map(({ accept }) => accept),
      ["access-token", "id-jag", "workload"],
    );
    assert.equal((await checkFeatures(config, FEATURES))?.status, "ok");
  });

  test("a client that the server starts with", () => {
    const [, CLIENTS = ""] = /^```env\nCLIENTS=(.*)\n```/m.exec(text) ?? [];
    const filled = CLIENTS.replaceAll("…", "-of-32-characters-0123456789-abcdef");
    const { clients } = loadConfig({ ...ENVIRONMENT, CONFIG_FILE: undefined, CLIENTS: filled });
    assert.deepEqual(
      clients.map(({ client_id, grant_types }) => [client_id, grant_types]),
      [["ci", ["client_credentials"]]],
    );
  });

  test("every key of an issuer is in the table", () => {
    for (const entry of ["accept: access-token, x: 1", "accept: id-jag, x: 1", "accept: workload, x: 1"]) {
      const [problem = ""] = problemsOf(`issuers: [{ ${entry} }]`).filter((each) =>
        each.includes("known here: "),
      );
      const keys = problem.split("known here: ")[1]?.split(", ") ?? [];
      assert.ok(keys.length >= 7, problem);
      for (const key of keys) assert.ok(text.includes(`| \`${key}\` |`), key);
    }
  });
});

describe("other authorization servers", () => {
  test("are read with this server's client there, and ID tokens are kept only for them", () => {
    const { authorizationServers, identityProviders } = load(`authorizationServers:
  - { issuer: https://todo.example.com, clientId: mcp, clientSecret: \${LOOKUP_SECRET} }
`);
    assert.deepEqual(authorizationServers, [
      {
        issuer: "https://todo.example.com",
        timeoutSeconds: 10,
        client: {
          clientId: "mcp",
          credential: { kind: "secret", secret: "a-secret-of-introspection" },
          tokenEndpointAuthMethod: "auto",
        },
      },
    ]);
    assert.equal(identityProviders[0].keepsIdToken, true);
    assert.ok(secretsOf(ENVIRONMENT).includes("a-secret-of-introspection"));
    const { identityProviders: without } = load(
      "issuers:\n  - { issuer: https://a.example, accept: id-jag }\n",
    );
    assert.equal(without[0].keepsIdToken, undefined);
  });

  test("have every mistake named with its line", () => {
    assert.deepEqual(
      problemsOf(`authorizationServers:
  - { issuer: "https://todo.example.com/.well-known/oauth-authorization-server", clientId: mcp, clientSecret: s }
  - { issuer: https://todo.example.com, clientID: mcp, clientSecret: s, timeoutSeconds: 0 }
  - { issuer: https://todo.example.com, clientId: mcp }
`),
      [
        "server.yaml:2: authorizationServers.issuer must be the issuer itself, not the address of its discovery document: set it to https://todo.example.com",
        'server.yaml:3: the authorization server has an unknown key "clientID": write clientId if you mean that, or remove it',
        "server.yaml:3: authorizationServers.clientId is missing: add it",
        "server.yaml:3: authorizationServers.timeoutSeconds must be a whole number from 1 to 60: write digits alone, such as 10",
        "server.yaml:4: authorizationServers.clientSecret is missing: add it, or name a key or a token file (docs/settings.md)",
        "server.yaml:4: authorizationServers.issuer is in two entries: make one of them",
      ],
    );
  });
});
