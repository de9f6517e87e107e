/** What the demo and `npm run dev` put around the server: people, an identity provider, the weather, and settings. */
import type { Environment } from "../../src/config/settings.ts";
import {
  type DemoUser,
  type IdentityProviderOptions,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../identity-provider/identity-provider.ts";
import { createPlatform } from "../identity-provider/platform.ts";
import { type DemoBackend, startBackend } from "./backend.ts";
import { API, APPLICATION, JOB, ORDERS_PATH, PLATFORM_PATH } from "./callers.ts";
import { startFakeWeatherApi } from "./fake-weather-api.ts";
import { createOrdersApi, ORDERS_API, ORDERS_SCOPES } from "./orders-api.ts";
import { startSecondProvider } from "./second-provider.ts";
import { writeServerYaml } from "./server-yaml.ts";
import { wantsRealWeather, weatherProblem } from "./settings.ts";

const CLIENT_ID = "mcp-oidc-proxy";

/** Of any port (RFC 8252 §7.3). */
const APPLICATION_REDIRECT_URI = "http://127.0.0.1/callback";

const OTHER_APIS = { [ORDERS_API]: Object.keys(ORDERS_SCOPES) };

/** alice has every scope, bob has none. */
function users(scopes: readonly string[]): DemoUser[] {
  return [
    { subject: "alice", name: "Alice Example", email: "alice@example.com", permissions: scopes },
    { subject: "bob", name: "Bob Example", email: "bob@example.com", permissions: [] },
  ];
}

export interface SurroundingsOptions extends Pick<IdentityProviderOptions, "kept"> {
  /** Of the server; the identity provider takes the next one. */
  port: number;
  host: string;
  clientSecret: string;
  /** How many identity providers. Default: one. */
  providers?: 1 | 2;
  /** Whether there is an MCP server behind this one. Default: no. */
  backend?: boolean;
  /** The settings of whoever started it. */
  given: Environment;
  /** For the person at the terminal. */
  say(line: string): void;
  /** Whether callers without a browser can get what they come with, which the server has to trust, and tools tokens for another API. Default: no. */
  callers?: boolean;
}

export interface DemoSurroundings {
  identityProvider: RunningIdentityProvider;
  /** Where people sign in. */
  issuers: readonly string[];
  /** The issuer of the platform, if there are callers without a browser. */
  platform: string;
  /** Another API, if there is one: its tokens are got by token exchange. */
  orders: string;
  /** The MCP server behind this one, if there is one. */
  backend: DemoBackend | undefined;
  /** The server's settings, as far as they follow from these. */
  environment: Environment;
  /** There are these scopes now, and alice may have them. None at the start. */
  offer(scopes: readonly string[]): void;
  close(): Promise<void>;
}

/** @throws Error with the code EADDRINUSE if one of the ports is taken */
export async function startRuntime({
  port,
  host,
  clientSecret,
  providers = 1,
  backend: hasBackend = false,
  kept,
  given,
  say,
  callers = false,
}: SurroundingsOptions): Promise<DemoSurroundings> {
  const baseUrl = `http://localhost:${port}`;
  const platform = `http://localhost:${port + 1}${PLATFORM_PATH}`;
  const identityProvider = await startIdentityProvider({
    port: port + 1,
    host,
    client: { id: CLIENT_ID, secret: clientSecret, redirectUris: [`${baseUrl}/auth/callback`] },
    audience: API,
    scopes: [],
    users: users([]),
    behaviour: { advertisesApiScopes: true },
    ...(kept && { kept }),
    ...(callers && {
      mcpServer: {
        issuer: baseUrl,
        resource: `${baseUrl}/mcp`,
        application: { ...APPLICATION, redirectUri: APPLICATION_REDIRECT_URI },
        machine: JOB,
      },
      otherApis: OTHER_APIS,
      beside: {
        [PLATFORM_PATH]: await createPlatform(platform),
        [ORDERS_PATH]: createOrdersApi(() => all.map(({ issuer }) => issuer)),
      },
    }),
  });
  const second =
    providers === 1
      ? undefined
      : await startSecondProvider({
          port: port + 2,
          host,
          baseUrl,
          audience: API,
          users: users([]),
          ...(callers && { otherApis: OTHER_APIS }),
          first: { issuer: identityProvider.issuer, clientId: CLIENT_ID, clientSecret },
        });
  const all = [identityProvider, ...(second === undefined ? [] : [second.identityProvider])];
  const backend = hasBackend ? await startBackend(baseUrl) : undefined;
  const file = await writeServerYaml({
    ...(second && { identityProviders: second.identityProviders }),
    ...(backend && { resources: backend.resources }),
  });
  const weather = await startWeather(given, say);
  return {
    identityProvider,
    issuers: all.map(({ issuer }) => issuer),
    platform,
    orders: identityProvider.issuer + ORDERS_PATH,
    backend,
    environment: {
      BASE_URL: baseUrl,
      PORT: String(port),
      HOST: host,
      STORE: "memory",
      ...(second === undefined && {
        OIDC_ISSUER: identityProvider.issuer,
        OIDC_CLIENT_ID: CLIENT_ID,
        OIDC_CLIENT_SECRET: clientSecret,
        OIDC_AUDIENCE: API,
      }),
      ...file.environment,
      // A trial must work in a train: without them every client registers.
      CLIENT_ID_METADATA: given.CLIENT_ID_METADATA || "off",
      ...weather.environment,
    },
    offer(scopes) {
      for (const each of all) {
        each.changeScopes(scopes);
        for (const { subject, permissions } of users(scopes)) each.changeUser(subject, { permissions });
      }
    },
    close: async () =>
      void (await Promise.all([
        ...all.map((each) => each.close()),
        backend?.close(),
        file.remove(),
        weather.close(),
      ])),
  };
}

interface Weather {
  environment: Environment;
  close(): Promise<void>;
}

async function startWeather(given: Environment, say: (line: string) => void): Promise<Weather> {
  if (wantsRealWeather(given)) {
    const problem = await weatherProblem(given);
    if (problem === undefined) return { environment: {}, close: async () => {} };
    say(`The weather service cannot be reached from here (${problem}): the weather is made up.`);
  }
  const { geocodingUrl, forecastUrl, close } = await startFakeWeatherApi({ port: 0 });
  return {
    environment: {
      OPEN_METEO_GEOCODING_URL: geocodingUrl,
      OPEN_METEO_FORECAST_URL: forecastUrl,
      OPEN_METEO_SOURCE: "made up by the demo: not real weather",
    },
    close,
  };
}

/** @param command that was started, to be said again with another port */
export function startProblem(error: unknown, port: number, command: string, providers = 1): string {
  const ports = providers === 1 ? `${port} or ${port + 1}` : `${port}, ${port + 1} or ${port + 2}`;
  return (error as NodeJS.ErrnoException).code === "EADDRINUSE"
    ? `Port ${ports} is in use by another program. Choose another: PORT=${port === 3100 ? 3200 : 3100} ${command}`
    : `It cannot start: ${error instanceof Error ? error.message : error}`;
}

export function whereItIs(url: string, ...issuers: readonly string[]): string {
  const names = users([]).map(({ subject }) => subject);
  const how = `(embedded; sign in as ${names.join(" or ")}, or any other name)`;
  return [
    `  MCP endpoint       ${url}`,
    ...issuers.map(
      (issuer, index) => `  ${index === 0 ? "Identity provider" : "                 "}  ${issuer} ${how}`,
    ),
  ].join("\n");
}
