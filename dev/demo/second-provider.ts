/** `npm run demo -- --providers 2`: another identity provider, and what the file says of both. */
import {
  type DemoUser,
  type IdentityProviderOptions,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../identity-provider/identity-provider.ts";

export interface SecondProvider {
  identityProvider: RunningIdentityProvider;
  /** `identityProviders` of the file, in place of the settings of one. */
  identityProviders: Readonly<Record<string, object>>;
}

interface Options extends Pick<IdentityProviderOptions, "otherApis"> {
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
  const { port, host, baseUrl, audience, users, otherApis, first } = options;
  const { clientId, clientSecret } = first;
  const identityProvider = await startIdentityProvider({
    port,
    host,
    publicUrl: `http://127.0.0.1:${port}`,
    client: { id: clientId, secret: clientSecret, redirectUris: [`${baseUrl}/auth/callback/partners`] },
    audience,
    scopes: [],
    users,
    ...(otherApis && { otherApis }),
    behaviour: { advertisesApiScopes: true },
  });
  const both = {
    staff: { issuer: first.issuer, label: "Staff", emailDomains: ["example.com"] },
    partners: { issuer: identityProvider.issuer, label: "Partners" },
  };
  const described = Object.entries(both).map(([name, each]) => [
    name,
    { ...each, clientId, clientSecret, audience },
  ]);
  return { identityProvider, identityProviders: Object.fromEntries(described) };
}
