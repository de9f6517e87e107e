/** (f) The npm package fastmcp, stateless, with its OAuth proxy for the same identity provider, or without authentication. */
import { FastMCP, OAuthProvider } from "fastmcp";
import { z } from "zod";
import { forecast, toolNames } from "../tools.ts";
import { report, settings } from "./subject.ts";

export interface FastMcpSettings {
  port: number;
  /** Absent: no authentication. */
  provider?: { issuer: string; clientId: string; clientSecret: string };
}

const { tools, port, provider } = settings<FastMcpSettings>();
const server = new FastMCP({
  name: "bench",
  version: "1.0.0",
  ...(provider && {
    auth: new OAuthProvider({
      authorizationEndpoint: `${provider.issuer}/auth`,
      tokenEndpoint: `${provider.issuer}/token`,
      baseUrl: `http://localhost:${port}`,
      clientId: provider.clientId,
      clientSecret: provider.clientSecret,
      scopes: ["openid", "profile", "weather:read"],
      consentRequired: false,
    } as ConstructorParameters<typeof OAuthProvider>[0]),
  }),
});
for (const name of toolNames(tools))
  server.addTool({
    name,
    description: "Weather for a city",
    parameters: z.object({ city: z.string().min(1) }),
    execute: async ({ city }) => forecast(city),
  });
await server.start({ transportType: "httpStream", httpStream: { port, host: "127.0.0.1", stateless: true } });
report(port);
