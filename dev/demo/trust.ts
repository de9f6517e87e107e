/** What the demo's server knows of callers without a browser: two clients, and three kinds of signatures that it believes. */
import { parseConfiguredClients } from "../../src/clients/configured-clients.ts";
import type { Config } from "../../src/config/config.ts";
import { trustedIssuers } from "../../src/config/issuers.ts";
import { CLIENT_CREDENTIALS_GRANT, JWT_BEARER_GRANT } from "../../src/oauth/client-metadata.ts";
import { APPLICATION, MACHINE, SERVICE_ACCOUNT } from "./callers.ts";

export interface TrustedByDemo {
  /** The issuer of the identity provider. */
  issuer: string;
  /** The issuer of the platform. */
  platform: string;
  /** All of the server's scopes. */
  scopes: readonly string[];
}

/** Beside what the configuration says already. */
export function withCallers(config: Config, trusted: TrustedByDemo): Config {
  const ids = config.clients.map(({ client_id: id }) => id);
  const clients = callersClients(trusted).filter(({ client_id: id }) => !ids.includes(id));
  return {
    ...config,
    clients: [...config.clients, ...parseConfiguredClients(JSON.stringify(clients))],
    issuers: [...config.issuers, ...trustedIssuers(callersIssuers(trusted))],
  };
}

/** As CLIENTS has them. */
function callersClients({ scopes }: TrustedByDemo) {
  return [
    {
      client_id: MACHINE.id,
      client_name: "Nightly report",
      client_secret: MACHINE.secret,
      grant_types: [CLIENT_CREDENTIALS_GRANT],
      scope: scopes.join(" "),
    },
    {
      client_id: APPLICATION.id,
      client_name: "The company's agent",
      client_secret: APPLICATION.secret,
      grant_types: [JWT_BEARER_GRANT],
    },
  ];
}

/** As `issuers` in CONFIG_FILE has them; whoever may do nothing here is left out. */
function callersIssuers({ issuer, platform, scopes }: TrustedByDemo): object[] {
  const { namespace, name } = SERVICE_ACCOUNT;
  const companies = [{ issuer, accept: "id-jag" }];
  if (scopes.length === 0) return companies;
  return [
    ...companies,
    {
      issuer: platform,
      accept: "workload",
      subjects: { [`system:serviceaccount:${namespace}:${name}`]: { scopes: [...scopes] } },
    },
    {
      issuer,
      accept: "access-token",
      scopes: Object.fromEntries(scopes.map((scope) => [scope, [scope]])),
    },
  ];
}
