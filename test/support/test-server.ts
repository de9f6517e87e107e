/** The real app over HTTP on a free port, beside a real identity provider in process: what a flow test runs on. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { pino } from "pino";
import { startFakeWeatherApi } from "../../dev/demo/fake-weather-api.ts";
import {
  type DemoUser,
  type McpServer,
  type ProviderBehaviour,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import type { Policy } from "../../src/access/policy.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import type { AuditStream } from "../../src/audit/audit.ts";
import { type Config, loadConfig } from "../../src/config/config.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import type { Prompt } from "../../src/mcp/authoring/define-prompt.ts";
import type { Resource } from "../../src/mcp/authoring/define-resource.ts";
import type { Tool } from "../../src/mcp/authoring/define-tool.ts";
import type { ScopeDeclarations } from "../../src/oauth/scope-catalogue.ts";
import { createShutdown, type Shutdown } from "../../src/runtime/shutdown.ts";
import { type AppOptions, buildApp } from "../../src/server/mount.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { reencrypt } from "../../src/storage/reencrypt.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { currentWeather } from "../../src/tools/current-weather.ts";
import { createOpenMeteo, type WeatherSettings } from "../../src/tools/open-meteo.ts";
import { sayHello } from "../../src/tools/say-hello.ts";
import { whoami } from "../../src/tools/whoami.ts";
import { eventually } from "./eventually.ts";
import type { FaultyProxy } from "./faulty-proxy.ts";
import { freePort } from "./free-port.ts";

export const ALICE: DemoUser = {
  subject: "alice",
  name: "Alice Example",
  email: "alice@example.com",
  permissions: ["weather:read"],
};
export const BOB: DemoUser = { subject: "bob", name: "Bob", email: "bob@example.com", permissions: [] };
/** People who are called as their subject is. */
export function people(subjects: readonly string[], permissions: readonly string[]): DemoUser[] {
  return subjects.map((subject) => ({
    subject,
    name: subject,
    email: `${subject}@example.com`,
    permissions: [...permissions],
  }));
}
export const SECRET_KEY = "test-secret-key-with-more-than-32-bytes-0123456789";
/** Patience for a busy machine, where two seconds would be an outage. */
export const REDIS_TIMEOUT_MS = "10000";
export const AUDIENCE = "https://weather.example.com";

export interface TestServerOptions {
  redisUrl?: string;
  behaviour?: ProviderBehaviour;
  /** How many seconds ago whoever signs in at the identity provider did so, by what it says. */
  signedInAgo?: () => number;
  /** Who may sign in at the identity provider, if not ALICE and BOB. */
  users?: readonly DemoUser[];
  /** Beside three of src/tools, whatever else is there. */
  tools?: readonly Tool[];
  /** Where current_weather asks, if not the fake weather API. */
  weather?: Partial<WeatherSettings>;
  resources?: readonly Resource[];
  prompts?: readonly Prompt[];
  /** Beside those of src/tools. */
  scopes?: ScopeDeclarations;
  /** The scopes that the identity provider knows of our API. */
  apiScopes?: readonly string[];
  /** Other APIs that the identity provider knows, with their scopes. */
  otherApis?: Readonly<Record<string, readonly string[]>>;
  /** The client of our API at the identity provider that alone may exchange its tokens. */
  apiClient?: { id: string; secret: string };
  /** Another MCP server, to which the identity provider asserts who a user is. */
  mcpServer?: McpServer;
  policy?: Policy;
  auditStream?: AuditStream;
  /** Settings by their names in the environment. */
  environment?: Record<string, string>;
  /** What the environment cannot say of a provider on http://localhost: Auth0's preset. */
  adjust?: (config: Config) => Config;
  /** The path of BASE_URL, such as `/tools`. */
  basePath?: string;
  /** Does what a proxy does that strips `basePath`. */
  stripsBasePath?: boolean;
  /** Stands between the server and the identity provider. */
  throughProxy?: FaultyProxy;
  /** The identity provider is another site than the server (which is on localhost), as it is in life. */
  providerIsAnotherSite?: boolean;
  /** Where the identity provider reports sign-outs, if not to the server itself. */
  backchannelLogoutUri?: string;
  /** Lets the server fetch clients' documents from this computer. */
  safeFetch?: AppOptions["safeFetch"];
  documentReach?: AppOptions["documentReach"];
  shutdown?: Shutdown;
  grantTypes?: AppOptions["grantTypes"];
  furtherResources?: AppOptions["furtherResources"];
  /** Instead of the embedded identity provider's: to have none at all. */
  issuer?: string;
  /** A second identity provider: the first is then called staff, this one partners. It is another site. */
  partners?: {
    users: readonly DemoUser[];
    behaviour?: ProviderBehaviour;
    /** Stands between the server and this one. */
    throughProxy?: FaultyProxy;
    /** Further lines of server.yaml, of each of the two and of the file. */
    keys?: { staff?: string; partners?: string; file?: string };
  };
}

export interface TestServer {
  baseUrl: string;
  /** The MCP endpoint. */
  url: string;
  config: Config;
  /** What the configuration was read from. */
  environment: Record<string, string>;
  records: KeyValueStore;
  identityProvider: RunningIdentityProvider;
  /** The second one. */
  partners: RunningIdentityProvider;
  /** Everything logged so far, one object a line. */
  log: Array<Record<string, unknown>>;
  /**
   * `ahead`: seconds that have passed for the server, and not for the test. `stepped`: seconds by which somebody set its
   * clock, while no time passed.
   */
  clock: { ahead: number; stepped: number };
  /** The grant that an access token belongs to, as it is stored. */
  grantOf(accessToken: string): Promise<Grant | undefined>;
  reencrypt(): Promise<unknown>;
  /**
   * Another process's worth of the same server on the same store: another port, the same BASE_URL.
   * @param changes settings that are different there
   * @param ahead seconds by which its clock is set ahead of the first one's
   */
  replica(changes?: Record<string, string>, ahead?: number): Promise<string>;
  close(): Promise<void>;
}

/**
 * The server of the suite or file that calls this: started before its tests and closed after them. Only then does the
 * returned object have its fields. Options that need something started first are given as a function.
 */
export function useTestServer(
  options: TestServerOptions | (() => TestServerOptions | Promise<TestServerOptions>) = {},
): TestServer {
  const testServer = {} as TestServer;
  before(async () => {
    Object.assign(
      testServer,
      await startTestServer(typeof options === "function" ? await options() : options),
    );
  });
  after(() => testServer.close?.()); // absent if it could not start
  return testServer;
}

export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const clock = { ahead: 0, stepped: 0 };
  const servers: Server[] = [];
  const server = await listen(servers);
  const { basePath = "" } = options;
  const baseUrl = `http://localhost:${portOf(server)}${basePath}`;
  const providerPort = options.providerIsAnotherSite ? await freePort() : 0;
  const identityProvider = await startIdentityProvider({
    port: providerPort,
    ...(options.providerIsAnotherSite && { publicUrl: `http://127.0.0.1:${providerPort}` }),
    ...(options.throughProxy && { publicUrl: `http://localhost:${options.throughProxy.port}` }),
    client: {
      id: "proxy",
      secret: "proxy-secret",
      redirectUris: [`${baseUrl}/auth/callback`],
      backchannelLogoutUri: options.backchannelLogoutUri ?? `${baseUrl}/auth/backchannel-logout`,
    },
    audience: AUDIENCE,
    scopes: ["weather:read", ...(options.apiScopes ?? [])],
    ...(options.otherApis && { otherApis: options.otherApis }),
    ...(options.apiClient && { apiClient: options.apiClient }),
    ...(options.mcpServer && { mcpServer: options.mcpServer }),
    users: options.users ?? [ALICE, BOB],
    behaviour: { advertisesApiScopes: true, ...options.behaviour },
    clockAhead: () => clock.ahead + clock.stepped,
    ...(options.signedInAgo && { signedInAgo: options.signedInAgo }),
  });
  if (options.throughProxy) options.throughProxy.target = identityProvider.port;
  const partners = options.partners && (await startPartners(options.partners, baseUrl, clock));
  const weather = await startFakeWeatherApi({ port: 0 });
  const environment = {
    BASE_URL: baseUrl,
    SERVER_NAME: "Test server",
    SECRET_KEY,
    OIDC_ISSUER: options.issuer ?? identityProvider.issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    ...(options.redisUrl === undefined
      ? { STORE: "memory" }
      : {
          REDIS_URL: options.redisUrl,
          REDIS_KEY_PREFIX: `test-${portOf(server)}-${Date.now()}`,
          REDIS_TIMEOUT_MS, // whoever tests an outage says less
        }),
    ...(options.partners &&
      partners &&
      describedInFile(
        options.issuer ?? identityProvider.issuer,
        options.partners.throughProxy
          ? `http://127.0.0.1:${options.partners.throughProxy.port}`
          : partners.issuer,
        options.partners.keys,
      )),
    ...options.environment,
  };
  const configOf = (changes: Record<string, string> = {}) => {
    const loaded = loadConfig({ ...environment, ...changes });
    return options.adjust?.(loaded) ?? loaded;
  };
  const config = configOf();
  const log: TestServer["log"] = [];
  const logger = pino(
    { level: "debug", base: null },
    { write: (line: string) => void log.push(JSON.parse(line)) },
  );
  const now = () => Math.floor(Date.now() / 1000) + clock.ahead + clock.stepped;
  const monotonicNow = () => performance.now() / 1000 + clock.ahead;
  const tools = [
    whoami,
    sayHello,
    currentWeather(createOpenMeteo({ ...weather, timeoutSeconds: 10, source: "fake", ...options.weather })),
    ...(options.tools ?? []),
  ];
  const allRecords: KeyValueStore[] = [];
  const shutdowns: Shutdown[] = [];

  function newApp(config: Config, ahead = 0) {
    const records =
      config.store.kind === "redis"
        ? redisStore({ ...config.store, log: logger })
        : (allRecords[0] ?? memoryStore());
    allRecords.push(records);
    const { shutdown = createShutdown() } = options;
    shutdowns.push(shutdown);
    return buildApp({
      config,
      tools,
      ...(options.resources && { resources: options.resources }),
      ...(options.prompts && { prompts: options.prompts }),
      ...(options.policy && { policy: options.policy }),
      ...(options.auditStream && { auditStream: options.auditStream }),
      scopes: { "weather:read": "Read the current weather", ...options.scopes },
      ...(options.safeFetch && { safeFetch: options.safeFetch }),
      ...(options.documentReach && { documentReach: options.documentReach }),
      shutdown,
      ...(options.grantTypes && { grantTypes: options.grantTypes }),
      ...(options.furtherResources && { furtherResources: options.furtherResources }),
      records,
      log: logger,
      now: () => now() + ahead,
      monotonicNow,
    });
  }

  const app = newApp(config);
  server.on("request", options.stripsBasePath ? strippedOf(basePath, app) : whicheverWay(app));
  const records = allRecords[0] as KeyValueStore;
  await untilReady(records);
  return {
    baseUrl,
    url: `${baseUrl}/mcp`,
    config,
    environment,
    records,
    identityProvider,
    partners: partners as RunningIdentityProvider, // who reads it asked for it
    log,
    clock,
    grantOf: (accessToken) =>
      encryptedStore({
        records,
        sealer: createSealer(config.secretKeys),
        log: logger,
        kind: "grant",
        ...grantFormat(storedUsers(config.identityProviders)),
      }).get(readToken("access", accessToken)?.grantId ?? ""),
    reencrypt: () => reencrypt(records, createSealer(config.secretKeys)),
    async replica(changes, ahead) {
      const another = await listen(servers);
      another.on("request", newApp(configOf(changes), ahead));
      await untilReady(allRecords.at(-1) as KeyValueStore);
      return `http://localhost:${portOf(another)}`;
    },
    async close() {
      for (const each of servers) {
        each.closeAllConnections();
        await new Promise((resolve) => each.close(resolve));
      }
      await Promise.all(shutdowns.map((each) => each.end()));
      await Promise.all(allRecords.map((each) => each.close()));
      await identityProvider.close();
      await partners?.close();
      await weather.close();
    },
  };
}

/** Of another site than the first: on this computer two ports of one host would share cookies. */
async function startPartners(
  { users, behaviour, throughProxy }: NonNullable<TestServerOptions["partners"]>,
  baseUrl: string,
  clock: TestServer["clock"],
): Promise<RunningIdentityProvider> {
  const port = await freePort();
  const started = await startIdentityProvider({
    port,
    publicUrl: `http://127.0.0.1:${throughProxy?.port ?? port}`,
    client: {
      id: "proxy-partners",
      secret: "partners-secret",
      redirectUris: [`${baseUrl}/auth/callback/partners`],
      backchannelLogoutUri: `${baseUrl}/auth/backchannel-logout`,
    },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users,
    behaviour: { advertisesApiScopes: true, ...behaviour },
    clockAhead: () => clock.ahead + clock.stepped,
  });
  if (throughProxy) throughProxy.target = started.port;
  return started;
}

/** Both of them as an operator writes them, in place of the settings in the environment. */
function describedInFile(
  staff: string,
  partners: string,
  keys: NonNullable<TestServerOptions["partners"]>["keys"] = {},
): Record<string, string> {
  const file = join(mkdtempSync(join(tmpdir(), "two-providers-")), "server.yaml");
  writeFileSync(
    file,
    `identityProviders:
  staff:
    issuer: ${staff}
    clientId: proxy
    clientSecret: proxy-secret
    audience: ${AUDIENCE}
    label: Staff
    ${keys.staff ?? ""}
  partners:
    issuer: ${partners}
    clientId: proxy-partners
    clientSecret: partners-secret
    audience: ${AUDIENCE}
    label: Partners
    ${keys.partners ?? ""}
${keys.file ?? ""}
`,
    { mode: 0o600 },
  );
  return {
    CONFIG_FILE: file,
    OIDC_ISSUER: "",
    OIDC_CLIENT_ID: "",
    OIDC_CLIENT_SECRET: "",
    OIDC_AUDIENCE: "",
  };
}

async function listen(servers: Server[]): Promise<Server> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function strippedOf(basePath: string, app: RequestListener): RequestListener {
  return (req, res) => {
    const url = req.url ?? "/";
    if (url === basePath || url.startsWith(`${basePath}/`)) req.url = url.slice(basePath.length) || "/";
    app(req, res);
  };
}

/** With TEST_WAY=express calls are sent as no ordinary client spells their address, so they go through express: see straight-way.ts. */
function whicheverWay(app: RequestListener): RequestListener {
  if (process.env.TEST_WAY !== "express") return app;
  return (req, res) => {
    if (req.url?.endsWith("/mcp")) req.url += "?";
    app(req, res);
  };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** The Redis connection is made in the background; a test that is not about that waits for it. */
function untilReady(records: KeyValueStore): Promise<unknown> {
  return eventually("the store answers", () =>
    records.ping().then(
      () => true,
      () => false,
    ),
  );
}
