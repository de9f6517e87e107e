/** `resources` in CONFIG_FILE: what each key means, and every mistake with its line and what to do about it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { pino } from "pino";
import { type Config, ConfigError, loadConfig } from "../../src/config/config.ts";
import { RESERVED_SEGMENTS } from "../../src/config/resources.ts";
import { buildApp } from "../../src/server/mount.ts";
import { loadFeatures, loadFurtherResources } from "../../src/server/tools-module.ts";
import { memoryStore } from "../../src/storage/memory.ts";

const folder = mkdtempSync(join(tmpdir(), "resources-"));
after(() => rmSync(folder, { recursive: true }));
const FILE = join(folder, "server.yaml");

const ENVIRONMENT = {
  BASE_URL: "https://mcp.example.com",
  STORE: "memory",
  SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
  OIDC_ISSUER: "https://acme.okta.com",
  OIDC_CLIENT_ID: "proxy",
  OIDC_CLIENT_SECRET: "a-secret-of-the-proxy",
  CONFIG_FILE: FILE,
};
type Environment = Record<string, string | undefined>;

function load(content: string, environment: Environment = {}): Config {
  writeFileSync(FILE, content, { mode: 0o600 });
  return loadConfig({ ...ENVIRONMENT, ...environment });
}

function problemsOf(content: string, environment: Environment = {}): string[] {
  try {
    load(content, environment);
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

const TWO = `resources:
  /mcp:
    tools: ./weather.js
  /crm/mcp:
    tools: /opt/crm.js
    name: CRM
`;

describe("the protected resources of a configuration", () => {
  test("without any in the file, there is /mcp, with the name of the server and the tools of TOOLS_MODULE", () => {
    const { resources, resource } = loadConfig({
      ...ENVIRONMENT,
      CONFIG_FILE: undefined,
      SERVER_NAME: "Acme",
    });
    assert.deepEqual(resources, [{ path: "/mcp", name: "Acme", source: { kind: "tools" } }]);
    assert.equal(resource, "https://mcp.example.com/mcp");
  });

  test("BACKEND_URL is a server behind this one, of which everything needs one scope", () => {
    const { resources } = loadConfig({
      ...ENVIRONMENT,
      CONFIG_FILE: undefined,
      SERVER_NAME: "Acme",
      BACKEND_URL: "http://localhost:8000/mcp",
    });
    const [{ path, name, source }, another] = resources;
    assert.deepEqual([path, name, another], ["/mcp", "Acme", undefined]);
    assert.ok(source.kind === "server" && source.settings.reach.kind === "http");
    assert.equal(source.settings.reach.url, "http://localhost:8000/mcp");
    const everything = new Map([["*", [["mcp:use"]]]]);
    assert.deepEqual(source.settings.needs, {
      tools: everything,
      resources: everything,
      prompts: everything,
    });
    assert.deepEqual(Object.keys(source.scopes), ["mcp:use"]);
  });

  for (const [what, content, environment, problem] of [
    [
      "beside resources of the file",
      "resources: { /weather: { name: Weather } }",
      {},
      /^BACKEND_URL \(--server\) is set, and server\.yaml:1 has resources: remove it/,
    ],
    [
      "beside TOOLS_MODULE",
      "",
      { CONFIG_FILE: undefined, TOOLS_MODULE: "tools.js" },
      /^BACKEND_URL \(--server\) is set beside TOOLS_MODULE \(--tools\): keep one of them/,
    ],
    [
      "that is no URL",
      "",
      { CONFIG_FILE: undefined, BACKEND_URL: "localhost:8000" },
      /^BACKEND_URL \(--server\) is no URL of an MCP server.*: write it in full/,
    ],
  ] as const)
    test(`BACKEND_URL ${what} is refused`, () => {
      const [said, another] = problemsOf(content, {
        BACKEND_URL: "http://localhost:8000/mcp",
        ...environment,
      });
      assert.match(said ?? "", problem);
      assert.equal(another, undefined);
    });

  test("are in order; the first may leave its name to SERVER_NAME", () => {
    const { resources, resource } = load(TWO, { SERVER_NAME: "Weather" });
    assert.deepEqual(resources, [
      { path: "/mcp", name: "Weather", source: { kind: "tools", module: join(folder, "weather.js") } },
      { path: "/crm/mcp", name: "CRM", source: { kind: "tools", module: "/opt/crm.js" } },
    ]);
    assert.equal(resource, "https://mcp.example.com/mcp");
  });

  test("the first may be anywhere, and may leave its tools to TOOLS_MODULE", () => {
    const { resources, resource } = load("resources: { /weather: { name: Weather } }", {
      TOOLS_MODULE: "/t.js",
    });
    assert.deepEqual(resources, [
      { path: "/weather", name: "Weather", source: { kind: "tools", module: "/t.js" } },
    ]);
    assert.equal(resource, "https://mcp.example.com/weather");
  });

  test("one may be below another", () => {
    const content = TWO.replace("/crm/mcp:", "/mcp/crm:");
    assert.deepEqual(
      load(content).resources.map(({ path }) => path),
      ["/mcp", "/mcp/crm"],
    );
  });

  test("one may name the identity provider of its users", () => {
    const staff = "{ issuer: https://acme.okta.com, clientId: proxy, clientSecret: s }";
    const content = `identityProviders: { staff: ${staff} }\n${TWO}    identityProvider: staff\n`;
    const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, ...rest } = ENVIRONMENT;
    writeFileSync(FILE, content, { mode: 0o600 });
    assert.deepEqual(
      loadConfig(rest).resources.map(({ identityProvider }) => identityProvider),
      [undefined, "staff"],
    );
  });

  test("an issuer may name any of them", () => {
    const [issuer] = load(
      `${TWO}issuers:\n  - { issuer: https://a.example, accept: access-token, resources: [/crm/mcp], scopes: { a: [b] } }\n`,
    ).issuers;
    assert.deepEqual(issuer?.accept === "access-token" && issuer.resources, ["/crm/mcp"]);
  });

  test("each has the features of its own module", async () => {
    const module = (name: string) =>
      `export const tools = [];\nexport const scopes = { "${name}": "${name}" };\n`;
    for (const name of ["weather", "crm"]) writeFileSync(join(folder, `${name}.mjs`), module(name));
    const config = load(
      "resources: { /mcp: { tools: weather.mjs }, /crm/mcp: { tools: crm.mjs, name: CRM } }",
    );
    assert.deepEqual({ ...(await loadFeatures(config)).scopes }, { weather: "weather" });
    const [further] = await loadFurtherResources(config);
    assert.deepEqual([further?.path, further?.name], ["/crm/mcp", "CRM"]);
    assert.deepEqual({ ...further?.features.scopes }, { crm: "crm" });
  });

  test("a module that is missing is named by the resource", async () => {
    await assert.rejects(loadFurtherResources(load(TWO)), {
      message: "resources./crm/mcp.tools: /opt/crm.js does not exist.",
    });
  });
});

describe("what is wrong with the resources of a configuration file", () => {
  const second = (path: string, entry = "{ tools: a.js, name: CRM }") =>
    `resources:\n  /mcp: { tools: b.js }\n  ${path}: ${entry}\n`;
  const path = "server.yaml:3: resources.";
  const bad: Array<[what: string, content: string, ...problems: string[]]> = [
    [
      "a path without a slash",
      second("crm"),
      `${path}crm is no path: it does not begin with /: write a path such as /crm/mcp`,
    ],
    [
      "a URL",
      second("https://mcp.example.com/crm"),
      `${path}https://mcp.example.com/crm is no path: it does not begin with /: write a path such as /crm/mcp`,
    ],
    ["the home page", second("/"), `${path}/ is where the home page is: write a path such as /crm/mcp`],
    ["a slash at the end", second("/crm/"), `${path}/crm/ ends with /: remove that`],
    [
      "a query",
      second('"/crm?a=b"'),
      `${path}/crm?a=b has more than a path: a query or a fragment: remove what begins with ? or #`,
    ],
    [
      "a fragment",
      second('"/crm#a"'),
      `${path}/crm#a has more than a path: a query or a fragment: remove what begins with ? or #`,
    ],
    ...["/crm/../mcp", "/./crm", "/.well-known/crm", "/crm/.well-known/openid-configuration"].map(
      (each): [string, string, string] => [
        each,
        second(each),
        `${path}${each} has a segment that begins with a dot: write a path such as /crm/mcp`,
      ],
    ),
    ...[
      "/crm%2fmcp",
      "//crm",
      "/crm//mcp",
      "/crm mcp",
      "/kunden/über",
      "/crm/:id",
      "/crm/*all",
      "/crm;a=b",
      "/crm\\mcp",
    ].map((each): [string, string, string] => [
      each,
      second(`'${each}'`),
      `${path}${each} has other characters than letters, digits, ".", "_", "~", "-" and "/": write a path such as /crm/mcp`,
    ]),
    ...["/token", "/auth/callback", "/auth/callback/staff", "/AUTH/crm", "/Register/crm", "/connections"].map(
      (each): [string, string, string] => [
        each,
        second(each),
        `${path}${each} begins with /${each.split("/")[1]}, which this server has for itself: write a path such as /crm/mcp`,
      ],
    ),
    [
      "two that differ in capital letters alone",
      second("/MCP"),
      `${path}/MCP differs from /mcp in capital letters alone, which make no difference: choose another path`,
    ],
    ["one path twice", second("/mcp"), 'server.yaml:3: the file has the key "/mcp" twice: keep one of them'],
    [
      "nothing that answers at a second one, which has no name either",
      second("/crm", "{ }"),
      `${path}/crm does not say what answers there: add one of tools, forwardAuth, server, command, servers`,
      `${path}/crm has no name, by which people tell it from the others: add a name, such as name: CRM`,
    ],
    [
      "two things that answer",
      second("/crm", "{ tools: a.js, forwardAuth: {}, name: CRM }"),
      `${path}/crm has both tools and forwardAuth: keep the one that answers there, or make two resources`,
    ],
    [
      "the name of another",
      second("/crm", "{ tools: a.js, name: mcp SERVER }"),
      `${path}/crm has the name "mcp SERVER", like /mcp: give each a name of its own (the first has SERVER_NAME without one)`,
    ],
    [
      "a name that is none",
      second("/crm", '{ tools: a.js, name: "C\\nRM" }'),
      `${path}/crm.name is no name for people: shorten it to 64 characters on one line`,
    ],
    [
      "a provider that is not there",
      second("/crm", "{ tools: a.js, name: CRM, identityProvider: staff }"),
      `${path}/crm.identityProvider is not the name of an identity provider of this file: write default, or leave it out`,
    ],
    [
      "keys that nobody knows",
      second("/crm", "{ tool: a.js, tools: b.js, name: CRM }"),
      `${path}/crm has an unknown key "tool": write tools if you mean that, or remove it`,
    ],
    [
      "keys of a backend beside tools",
      second("/crm", "{ tools: a.js, name: CRM, needs: {} }"),
      `${path}/crm has the key "needs", which is one of a resource with forwardAuth or server or command: remove it, or move it to that resource: tools say themselves what they need`,
    ],
    [
      "pinned tools of one's own",
      second("/crm", "{ tools: a.js, name: CRM, pins: crm.pins.json }"),
      `${path}/crm has the key "pins", which is one of a resource with server or command or servers: remove it, or move it to that resource: tools say themselves what they need`,
    ],
    [
      "drift from nothing",
      second(
        "/crm",
        "{ server: 'http://crm/mcp', name: CRM, scopes: { a: A }, needs: { tools: { '*': [a] } }, onDrift: log }",
      ),
      `${path}/crm.onDrift is there without pins, from which nothing could drift: add pins, such as pins: crm.pins.json, or remove it`,
    ],
    [
      "drift that is neither refused nor logged",
      second(
        "/crm",
        "{ server: 'http://crm/mcp', name: CRM, scopes: { a: A }, needs: { tools: { '*': [a] } }, pins: a.json, onDrift: warn }",
      ),
      `${path}/crm.onDrift must be one of refuse, log: write one of them`,
    ],
    [
      "a list of modules",
      second("/crm", "{ tools: [a.js], name: CRM }"),
      `${path}/crm.tools must be text: put it in quotes`,
    ],
    [
      "a word",
      second("/crm", "crm.js"),
      `${path}/crm must be keys with values: write key: value in lines of their own, or { key: value }`,
    ],
    [
      "an issuer of one that is not there",
      `${TWO}issuers:\n  - { issuer: https://a.example, accept: access-token, resources: [/mcp, /hr], scopes: { a: [b] } }\n`,
      "server.yaml:8: issuers.resources is not the path of a resource of this server: write /mcp or /crm/mcp",
    ],
    [
      "two issuers of opaque tokens of all resources",
      `${TWO}issuers:
  - { issuer: https://a.example, accept: access-token, scopes: { a: [b] }, resources: [/crm/mcp], introspection: { clientId: a, clientSecret: b } }
  - { issuer: https://b.example, accept: access-token, scopes: { a: [b] }, introspection: { clientId: a, clientSecret: b } }
`,
      "server.yaml:9: issuers.introspection is a second one for /crm/mcp: an opaque token does not say whose it is: keep one of them",
    ],
  ];
  for (const [what, content, ...expected] of bad)
    test(what, () => assert.deepEqual(problemsOf(content), expected));

  test("a path that would be another resource where a reverse proxy strips the path of BASE_URL", () => {
    const told = (each: string, base: string) =>
      problemsOf(second(each), { BASE_URL: `https://example.com${base}` });
    assert.deepEqual(told("/Tools/crm", "/tools"), [
      "server.yaml:3: resources./Tools/crm begins with /tools, the path of BASE_URL, to which it is added: write the path below BASE_URL alone, or choose another",
    ]);
    assert.deepEqual(told("/toolsmith/crm", "/tools"), []);
  });

  test("TOOLS_MODULE beside tools of the first resource", () => {
    assert.deepEqual(problemsOf(TWO, { TOOLS_MODULE: "/t.js" }), [
      "server.yaml:3: resources./mcp.tools is set in the environment, too, as TOOLS_MODULE: keep one of the two",
    ]);
  });
});

interface Layer {
  route?: { path: string | string[] };
  handle: { stack?: Layer[] };
}

test("no resource can be at a path that the server answers itself", () => {
  const config = load(TWO, { METRICS_TOKEN: "a-token-of-metrics" });
  const app = buildApp({
    tools: [],
    scopes: {},
    config,
    records: memoryStore(),
    log: pino({ level: "silent" }),
  });
  const paths = (layers: readonly Layer[]): string[] =>
    layers.flatMap(({ route, handle }) => [route?.path ?? [], paths(handle.stack ?? [])].flat(2));
  const own = paths((app as unknown as { router: { stack: Layer[] } }).router.stack);
  assert.ok(own.includes("/token") && own.includes("/metrics"), own.join(" "));
  const first = own.map((each) => each.split("/")[1] ?? "").filter((each) => !each.startsWith("."));
  assert.deepEqual(
    first.filter((each) => !["", "mcp", ...RESERVED_SEGMENTS].includes(each)),
    [],
  );
});
