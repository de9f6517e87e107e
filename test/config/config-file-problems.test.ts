/** What is wrong with a CONFIG_FILE: every mistake with its line and what to do about it. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { assertProblems, STAFF, useConfigFile } from "./written-config-file.ts";

const { folder, path, write, problemsOf } = useConfigFile();

describe("what is wrong with a configuration file", () => {
  const ISSUER = "    issuer: https://acme.okta.com\n";
  const known =
    "issuer, clientId, clientSecret, clientSecretFile, privateKey, privateKeyFile, privateKeyId, privateKeyAlgorithm, certificateFile, federatedTokenFile, audience, scopes, scopesFrom, scopeClaim, scopeClaimMap, authorizationParameters, logoutTokenExp, tokenEndpointAuthMethod, tenants, pushedAuthorizationRequests, subjectTokenType, exchangeClientId, exchangeClientSecret, timeoutSeconds, domain, organization, label, emailDomains";
  const bad: Array<[what: string, content: string | Buffer, ...problems: Array<string | RegExp>]> = [
    [
      "nothing in it",
      "",
      "server.yaml:1: the file is empty: write identityProviders, resources, issuers or authorizationServers, or leave CONFIG_FILE out",
    ],
    ["only a comment in it", "# later\n", /^server\.yaml:1: the file is empty: /],
    [
      "no YAML",
      "identityProviders: [\n  {}\n",
      /^server\.yaml:\d: the file is not YAML, here or just above \(.*\): correct the line$/,
    ],
    ["an unclosed quote", `${STAFF}    label: "Staff\n`, /^server\.yaml:\d: the file is not YAML/],
    [
      "tabs",
      "identityProviders:\n\tstaff: {}\n",
      "server.yaml:2: the file is not YAML, here or just above (Tabs are not allowed as indentation): indent with spaces",
    ],
    [
      "a list at its top",
      "- a\n",
      "server.yaml:1: the file must be keys with values: write key: value in lines of their own, or { key: value }",
    ],
    ["a word at its top", "staff\n", /^server\.yaml:1: the file must be keys with values/],
    [
      "a key twice",
      `${STAFF}${ISSUER}`,
      'server.yaml:6: the file has the key "issuer" twice: keep one of them',
    ],
    ["a tag", `${STAFF}    label: !!binary aGk=\n`, /^server\.yaml:6: the file has a tag, .*: remove it$/],
    [
      "a second document",
      `${STAFF}---\n${STAFF}`,
      "server.yaml:6: the file begins a second document, of which nothing would be read: keep one of the two",
    ],
    [
      "aliases without end",
      [..."abcdefgh"]
        .map((name, level, all) => {
          const inside = all[level - 1] === undefined ? "x" : `*${all[level - 1]}`;
          return `${name}: &${name} [${Array(9).fill(inside)}]`;
        })
        .join("\n"),
      "server.yaml:1: the file repeats too much by aliases (*name): write it out, or repeat at most 100 times",
    ],
    ["an alias of itself", "identityProviders: &a { staff: *a }\n", /^server\.yaml:1: /, /^server\.yaml:1: /],
    [
      "thousands of maps within each other",
      `identityProviders: ${"{a: ".repeat(20_000)}`,
      "server.yaml:1: the file is nested far too deep: make sure that this is the right file",
    ],
    [
      "prototype names as keys",
      `${STAFF}    __proto__: { clientId: x }\n__proto__: { resources: {} }\n`,
      `server.yaml:6: identityProviders.staff has an unknown key "__proto__": use what is known here: ${known}`,
      'server.yaml:7: the file has an unknown key "__proto__": use what is known here: identityProviders, resources, issuers, authorizationServers',
    ],
    [
      "a prototype name as a provider",
      `identityProviders:\n  __proto__:\n${ISSUER}    clientId: a\n    clientSecret: b\n`,
      "server.yaml:2: identityProviders.__proto__ is no name for an identity provider: write small letters, digits and -, such as staff",
    ],
    [
      "a name that would stand before all others, whatever their order",
      STAFF.replace("staff", "365"),
      "server.yaml:2: identityProviders.365 is a number, and no name: add a letter, such as p365",
    ],
    [
      "a name that a URL would not hold",
      STAFF.replace("staff", '"a/b"'),
      /^server\.yaml:2: identityProviders\.a\/b is no name for an identity provider/,
    ],
    [
      "keys misspelt",
      `identityProvider:\n${STAFF.slice(STAFF.indexOf("\n") + 1)}resource: {}\n`,
      'server.yaml:1: the file has an unknown key "identityProvider": write identityProviders if you mean that, or remove it',
      'server.yaml:6: the file has an unknown key "resource": write resources if you mean that, or remove it',
      "OIDC_ISSUER is missing: set it to the issuer of your identity provider (or set AUTH0_DOMAIN)",
      /^OIDC_CLIENT_ID is missing/,
      /^OIDC_CLIENT_SECRET is missing/,
    ],
    [
      "keys of a later version",
      `${STAFF}    profile: okta\n`,
      'server.yaml:6: identityProviders.staff has the key "profile", which this version does not have: remove it',
    ],
    [
      "a second identity provider of which half is missing",
      `${STAFF}  partners: { issuer: https://p.example }\n`,
      "server.yaml:6: identityProviders.partners.clientId is missing: set it to the client id that your identity provider gave this server",
      "server.yaml:6: identityProviders.partners.clientSecret is missing: set it to the client secret that your identity provider gave this server, or name a key or a token file (docs/settings.md)",
    ],
    [
      "the same identity provider twice, spelt differently",
      `${STAFF}  partners: { issuer: https://ACME.okta.com/, clientId: a, clientSecret: b }\n`,
      "server.yaml:6: identityProviders.partners.issuer is that of identityProviders.staff, too, whose users could not be told from its own: keep one of them",
    ],
    [
      "two that people cannot tell apart",
      `${STAFF}  partners: { issuer: https://acme.okta.com/oauth2/partners, clientId: a, clientSecret: b }\n`,
      'server.yaml:6: identityProviders.partners.clientId is of a provider that people see as "acme.okta.com", like identityProviders.staff: give each a label of its own',
    ],
    [
      "the name that stands for the first",
      `${STAFF}  default: { issuer: https://p.example, clientId: a, clientSecret: b }\n`,
      "server.yaml:6: identityProviders.default is the name of the first identity provider: choose another name",
    ],
    [
      "an Auth0 domain beside an issuer, and an organization without the domain",
      `${STAFF}    domain: acme.eu.auth0.com\n  partners: { issuer: https://p.example, organization: org_a, clientId: a, clientSecret: b }\n`,
      "server.yaml:6: identityProviders.staff.domain is set beside issuer: keep domain for Auth0, or issuer",
      "server.yaml:7: identityProviders.partners.organization is Auth0's, and needs domain in place of issuer: write domain, or remove it",
      /^server\.yaml:2: identityProviders\.staff\.audience is missing/,
    ],
    [
      "an issuer of many tenants without them",
      STAFF.replace("acme.okta.com", "login.microsoftonline.com/{tenantid}/v2.0"),
      "server.yaml:2: identityProviders.staff.tenants is missing: without it, every tenant in the world could sign in: list the ids of those that may",
    ],
    [
      "an empty list of tenants",
      `${STAFF.replace("acme.okta.com", "login.microsoftonline.com/{tenantid}/v2.0")}    tenants: []\n`,
      "server.yaml:6: identityProviders.staff.tenants is empty: fill it or leave it out",
    ],
    [
      "tenants that are none, and everybody's",
      `${STAFF.replace("acme.okta.com", "login.microsoftonline.com/{tenantid}/v2.0")}    tenants: [common, 9188040D-6c67-4c5b-b112-36a304b66dad]\n`,
      /^server\.yaml:6: identityProviders\.staff\.tenants must be a comma-separated list of tenant ids such as /,
      /^server\.yaml:6: identityProviders\.staff\.tenants has the tenant of personal accounts, which anybody can make/,
    ],
    [
      "tenants of an issuer that has none",
      `${STAFF}    tenants: [3aa4a235-b6e2-48d5-9195-7fcf05b459b0]\n`,
      /^server\.yaml:6: identityProviders\.staff\.tenants is set, and the issuer is not that of many tenants/,
    ],
    [
      "a tenant that is a provider of its own",
      `identityProviders:
  all:
    issuer: https://login.microsoftonline.com/{tenantid}/v2.0
    tenants: [3AA4A235-b6e2-48d5-9195-7fcf05b459b0]
    clientId: a
    clientSecret: b
  one:
    issuer: https://login.microsoftonline.com/3aa4a235-b6e2-48d5-9195-7fcf05b459b0/v2.0
    label: One
    clientId: a
    clientSecret: b
`,
      /^server\.yaml:8: identityProviders\.one\.issuer is that of identityProviders\.all, too/,
    ],
    [
      "empty lists",
      `identityProviders: {}\nresources: {}\n`,
      "server.yaml:1: identityProviders is empty: fill it or leave it out",
      "server.yaml:2: resources is empty: fill it or leave it out",
      /^OIDC_ISSUER is missing/,
      /^OIDC_CLIENT_ID is missing/,
      /^OIDC_CLIENT_SECRET is missing/,
    ],
    [
      "values of other kinds",
      `identityProviders:
  staff:
    issuer: true
    clientId: 12345
    clientSecret:
    label: [a]
    emailDomains: acme.com
    scopes: { openid: true }
    authorizationParameters: [a]
    timeoutSeconds: "5"
`,
      "server.yaml:3: identityProviders.staff.issuer must be text: put it in quotes",
      "server.yaml:4: identityProviders.staff.clientId must be text: put it in quotes",
      "server.yaml:5: identityProviders.staff.clientSecret must be text: put it in quotes",
      "server.yaml:6: identityProviders.staff.label must be text: put it in quotes",
      /^server\.yaml:7: identityProviders\.staff\.emailDomains must be a list: write \[a, b\]/,
      /^server\.yaml:8: identityProviders\.staff\.scopes must be a list/,
      /^server\.yaml:9: identityProviders\.staff\.authorizationParameters must be keys with values/,
      "server.yaml:10: identityProviders.staff.timeoutSeconds must be a number: write digits without quotes",
    ],
    [
      "a provider that is a word",
      "identityProviders:\n  staff: okta\n",
      /^server\.yaml:2: identityProviders\.staff must be keys with values/,
    ],
    [
      "values that no setting takes, and one left out",
      `identityProviders:
  staff:
    issuer: http://acme.okta.com
    clientSecret: \${STAFF_SECRET}
    scopes: [profile]
    tokenEndpointAuthMethod: basic
    timeoutSeconds: 600
    emailDomains: ["@acme.com"]
`,
      "server.yaml:5: identityProviders.staff.scopes must contain openid, without which there is no ID token: add openid to it",
      /^server\.yaml:6: identityProviders\.staff\.tokenEndpointAuthMethod must be one of auto, /,
      "server.yaml:7: identityProviders.staff.timeoutSeconds must be a whole number from 1 to 60: write digits alone, such as 10",
      /^server\.yaml:3: identityProviders\.staff\.issuer must be https/,
      "server.yaml:2: identityProviders.staff.clientId is missing: set it to the client id that your identity provider gave this server",
      /^server\.yaml:8: identityProviders\.staff\.emailDomains must be .* host names/,
    ],
    [
      "variables that are none",
      `identityProviders:
  staff:
    issuer: https://acme.okta.com
    clientId: "\${}"
    clientSecret: \${UNSET_SECRET}
    label: "\${A\${B}}"
    audience: "\${OPEN"
    scopes: [openid, "\${constructor}"]
`,
      "server.yaml:4: identityProviders.staff.clientId has ${}, which names no environment variable: write it like ${NAME}",
      "server.yaml:5: identityProviders.staff.clientSecret has ${UNSET_SECRET}, and the environment variable UNSET_SECRET is not set: set UNSET_SECRET, or write the value here",
      "server.yaml:6: identityProviders.staff.label has ${B}, and the environment variable B is not set: set B, or write the value here",
      'server.yaml:6: identityProviders.staff.label has "${" without the name of an environment variable and "}" after it: write it like ${NAME}, without another one inside',
      'server.yaml:7: identityProviders.staff.audience has "${" without the name of an environment variable and "}" after it: write it like ${NAME}, without another one inside',
      /^server\.yaml:8: identityProviders\.staff\.scopes has \$\{constructor\}, .* is not set/,
    ],
    [
      "more than a person writes",
      `# ${"x".repeat(10 * 1024 * 1024)}\n${STAFF}`,
      "CONFIG_FILE names server.yaml, which is larger than 256 KB: make sure that this is the right file",
    ],
    [
      "another encoding",
      Buffer.from(`${STAFF}    label: Gäste\n`, "latin1"),
      "CONFIG_FILE names server.yaml, which is not UTF-8: save it as UTF-8",
    ],
    [
      "something else in it",
      Array.from({ length: 5_000 }, (_, index) => `key${index}: value`).join("\n"),
      ...Array(100).fill(/^server\.yaml:\d+: the file has an unknown key/),
      "server.yaml: the file has more problems: correct these first",
      /^OIDC_ISSUER is missing/,
      /^OIDC_CLIENT_ID is missing/,
      /^OIDC_CLIENT_SECRET is missing/,
    ],
  ];
  for (const [what, content, ...expected] of bad)
    test(what, () => assertProblems(problemsOf(content), expected));

  test("a file that may not be read is a problem", () => {
    write(STAFF);
    chmodSync(path, 0o000);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(65_534); // root reads everything
    try {
      assert.deepEqual(problemsOf(undefined), [
        "CONFIG_FILE names server.yaml, which may not be read by this process: change its permissions",
      ]);
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
    chmodSync(path, 0o600);
  });

  test("a file that is not there, and a folder in its place, are problems", () => {
    const other = join(folder, "other");
    assert.deepEqual(problemsOf(undefined, { CONFIG_FILE: other }), [
      "CONFIG_FILE names FOLDER/other, which does not exist: create it, or correct the path",
    ]);
    mkdirSync(other);
    assert.deepEqual(problemsOf(undefined, { CONFIG_FILE: other }), [
      "CONFIG_FILE names FOLDER/other, which is no file: name the file itself",
    ]);
  });

  test("a setting in both places is named with both, and problems of both come together", () => {
    const content = `${STAFF}    emailDomains: [acme.com]\nresources:\n  /mcp: { tools: t.js }\n`;
    const both = {
      BASE_URL: "mcp.example.com",
      OIDC_CLIENT_ID: "other",
      OIDC_AUDIENCE: "api",
      AUTH0_DOMAIN: "t.auth0.com",
      ALLOWED_EMAIL_DOMAINS: "acme.com",
      TOOLS_MODULE: "/t.js",
    };
    assert.deepEqual(problemsOf(content, both).sort(), [
      "AUTH0_DOMAIN is set in the environment, and identityProviders.staff in server.yaml:2 describes the identity provider: say all of it in one of the two places",
      "BASE_URL is not a URL: write it in full, beginning with https://",
      "OIDC_AUDIENCE is set in the environment, and identityProviders.staff in server.yaml:2 describes the identity provider: say all of it in one of the two places",
      "server.yaml:4: identityProviders.staff.clientId is set in the environment, too, as OIDC_CLIENT_ID: keep one of the two",
      "server.yaml:6: identityProviders.staff.emailDomains is set in the environment, too, as ALLOWED_EMAIL_DOMAINS: keep one of the two",
      "server.yaml:8: resources./mcp.tools is set in the environment, too, as TOOLS_MODULE: keep one of the two",
    ]);
  });

  test("no message repeats a secret of the file or of a variable", () => {
    const secret = "hunter2-hunter2-hunter2";
    const content = STAFF.replace("${STAFF_SECRET}", `"${secret}\\n${secret}"`);
    assert.match(problemsOf(content).join("\n"), /clientSecret has a line break/);
    assert.doesNotMatch(problemsOf(content).join("\n"), /hunter2/);
    assert.doesNotMatch(problemsOf(`${STAFF}  x: y\n`, { STAFF_SECRET: secret }).join("\n"), /hunter2/);
  });
});
