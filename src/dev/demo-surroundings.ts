/** What the demo and `npm run dev` put around the server: people, an identity provider, the weather, and settings. */
import type { Environment } from "../settings.ts";
import {
  type DemoUser,
  type IdentityProviderOptions,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "./identity-provider.ts";
import { startWeatherStandIn, type WeatherStandIn } from "./weather-stand-in.ts";

export const WEATHER_SOURCE = "local stand-in of the demo: not real weather";
const AUDIENCE = "https://weather.example.com";
const CLIENT_ID = "mcp-oidc-proxy";

/** alice may do everything that there is, bob nothing that needs a scope. */
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
  scopes: readonly string[];
  clientSecret: string;
}

export interface DemoSurroundings {
  identityProvider: RunningIdentityProvider;
  weather: WeatherStandIn;
  /** The server's settings, as far as they follow from these. */
  environment: Environment;
  /** There are these scopes now, and alice may have them. */
  offer(scopes: readonly string[]): void;
  close(): Promise<void>;
}

/** @throws Error with the code EADDRINUSE if one of the two ports is taken */
export async function startSurroundings({
  port,
  host,
  scopes,
  clientSecret,
  kept,
}: SurroundingsOptions): Promise<DemoSurroundings> {
  const baseUrl = `http://localhost:${port}`;
  const identityProvider = await startIdentityProvider({
    port: port + 1,
    host,
    client: { id: CLIENT_ID, secret: clientSecret, redirectUris: [`${baseUrl}/auth/callback`] },
    audience: AUDIENCE,
    scopes,
    users: users(scopes),
    character: { advertisesApiScopes: true },
    ...(kept && { kept }),
  });
  const weather = await startWeatherStandIn({ port: 0 });
  return {
    identityProvider,
    weather,
    environment: {
      BASE_URL: baseUrl,
      PORT: String(port),
      HOST: host,
      STORE: "memory",
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: CLIENT_ID,
      OIDC_CLIENT_SECRET: clientSecret,
      OIDC_AUDIENCE: AUDIENCE,
      OPEN_METEO_GEOCODING_URL: weather.geocodingUrl,
      OPEN_METEO_FORECAST_URL: weather.forecastUrl,
    },
    offer(scopes) {
      identityProvider.changeScopes(scopes);
      for (const { subject, permissions } of users(scopes))
        identityProvider.changeUser(subject, { permissions });
    },
    close: async () => void (await Promise.all([identityProvider.close(), weather.close()])),
  };
}

/** What can be tried without a configuration: docs/access.md. */
export function settingsToTry(environment: Environment): Environment {
  const { POLICY_FILE, TOOLS_LISTED, AUDIT_LOG, AUDIT_ARGUMENTS, LOG_LEVEL } = environment;
  return { POLICY_FILE, TOOLS_LISTED, AUDIT_LOG, AUDIT_ARGUMENTS, LOG_LEVEL };
}

/** @throws Error that says what a port must be */
export function demoPort(environment: Environment): number {
  const port = Number(environment.PORT || 3000);
  if (!Number.isInteger(port) || port < 1 || port > 65_534)
    throw new Error("PORT must be a number from 1 to 65534: the identity provider takes the next one.");
  return port;
}

/** @param command that was started, to be said again with another port */
export function startProblem(error: unknown, port: number, command: string): string {
  return (error as NodeJS.ErrnoException).code === "EADDRINUSE"
    ? `Port ${port} or ${port + 1} is in use by another program. Choose another: PORT=3100 ${command}`
    : `It cannot start: ${error instanceof Error ? error.message : error}`;
}

export function whereItIs(url: string, issuer: string): string {
  const names = users([]).map(({ subject }) => subject);
  return `  MCP endpoint       ${url}
  Identity provider  ${issuer} (embedded; sign in as ${names.join(" or ")}, or any other name)`;
}
