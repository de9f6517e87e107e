/** `npm run demo -- --providers 2`: another identity provider, and the file that describes both. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../../src/config/settings.ts";
import {
  type DemoUser,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../identity-provider/identity-provider.ts";

export interface SecondProvider {
  identityProvider: RunningIdentityProvider;
  /** In place of the settings of one. */
  environment: Environment;
  close(): Promise<void>;
}

interface Options {
  /** Where it listens. */
  port: number;
  host: string;
  baseUrl: string;
  audience: string;
  users: readonly DemoUser[];
  first: { issuer: string; clientId: string; clientSecret: string };
}

/** Under another name of this computer than the first: two ports of one host would share cookies. */
export async function startSecondProvider(options: Options): Promise<SecondProvider> {
  const { port, host, baseUrl, audience, users, first } = options;
  const { clientId, clientSecret } = first;
  const identityProvider = await startIdentityProvider({
    port,
    host,
    publicUrl: `http://127.0.0.1:${port}`,
    client: { id: clientId, secret: clientSecret, redirectUris: [`${baseUrl}/auth/callback/partners`] },
    audience,
    scopes: [],
    users,
    behaviour: { advertisesApiScopes: true },
  });
  const folder = await mkdtemp(join(tmpdir(), "mcp-oidc-proxy-demo-"));
  const file = join(folder, "server.yaml");
  const both = {
    staff: { issuer: first.issuer, label: "Staff", emailDomains: ["example.com"] },
    partners: { issuer: identityProvider.issuer, label: "Partners" },
  };
  const described = Object.entries(both).map(([name, each]) => [
    name,
    { ...each, clientId, clientSecret, audience },
  ]);
  // JSON is YAML.
  await writeFile(file, JSON.stringify({ identityProviders: Object.fromEntries(described) }), {
    mode: 0o600,
  });
  return {
    identityProvider,
    environment: { CONFIG_FILE: file },
    async close() {
      await identityProvider.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
