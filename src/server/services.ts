/** The composition root: every service is built here, from its dependencies. Nothing is mounted, nothing started. */
import { createConnectedApplications } from "../account/list.ts";
import { createSessions, sessionFormat } from "../account/session.ts";
import { type AuditStream, createAudit } from "../audit/audit.ts";
import { createRegistrations } from "../clients/register.ts";
import type { Config } from "../config/config.ts";
import { endAll } from "../grants/end-grant.ts";
import { spend } from "../http/rate-limit.ts";
import { createKeepClaims, decidingClaims, withBoundedClaims } from "../identity/bounded-claims.ts";
import {
  type AtLeastOne,
  type ConfiguredProvider,
  createIdentityProviders,
  decorated,
  openIdentityProviders,
} from "../identity/identity-providers.ts";
import { withOwnEmails } from "../identity/own-emails.ts";
import { readJwt } from "../issuers/jwt.ts";
import { trustedAssertions } from "../issuers/trusted-assertions.ts";
import { rememberedProvider } from "../login/provider-choice.ts";
import type { Client } from "../oauth/client-metadata.ts";
import { createPages } from "../pages/shell.ts";
import { identityKeys } from "../resource/identity-keys.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import { createSignIdentity } from "../resource/signed-identity.ts";
import { type Budgets, costOf } from "../storage/budgets.ts";
import { encryptedStore } from "../storage/encrypted.ts";
import { countDecisions } from "../telemetry/decision-metrics.ts";
import { observedIdentityProvider } from "../telemetry/observed-identity-provider.ts";
import type { GrantType } from "../token-endpoint/grant-type.ts";
import { offeredGrantTypes } from "../token-endpoint/grant-types.ts";
import { type DescribedResource, type McpResource, servedResource } from "./resources.ts";
import { type ClientsOptions, clientServices } from "./services/client-services.ts";
import { describeResources, type ResourcesOptions } from "./services/describe-resources.ts";
import { endpointServices } from "./services/endpoint-services.ts";
import { type Foundation, type FoundationOptions, layFoundation } from "./services/foundation.ts";
import { grantServices } from "./services/grant-services.ts";
import { signInServices } from "./services/sign-in-services.ts";

/** With what the first resource offers. */
export interface AppOptions extends FoundationOptions, ResourcesOptions, ClientsOptions {
  /** Gets every audit line, beside the log. */
  auditStream?: AuditStream;
  /** Default: those of the configuration. */
  identityProviders?: AtLeastOne<ConfiguredProvider>;
  /** What clients may ask tokens with. Default: all that this server has. */
  grantTypes?: readonly GrantType[];
}

export type Services = ReturnType<typeof buildServices>;

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function buildServices(options: AppOptions) {
  const base = layFoundation(options);
  const { config, runtime, metrics, observe, shutdown, records, sealer, storing, users } = base;
  const { baseUrl } = config;
  const { described, catalogue } = describeResources(options, base);
  const catalogueOf = (resource: string) => resourceOf(resource, described).scopes;
  const audit = createAudit(runtime.log, options.auditStream, countDecisions(metrics, described));
  const { identityProviders, keepClaims } = identityServices(options, base, described);
  const { grantTypes = offeredGrantTypes(config) } = options;
  const { registrationRules, takenBack, ...ofClients } = clientServices(options, base, grantTypes);
  const { clients } = ofClients;
  const ofSignIns = signInServices(base);
  const { upstreamToken, exchangedTokens, ...ofGrants } = grantServices(base, {
    identityProviders,
    keepClaims,
    audit,
    catalogueOf,
  });
  const { grants, grantCache, lastUse } = ofGrants;
  const { bodies, endpoint } = endpointServices(base, { audit, ...ofGrants });
  const sessionStore = encryptedStore({ ...storing, kind: "session", ...sessionFormat(users) });
  const connections = createConnectedApplications({
    configured: config.clients,
    grants,
    clients,
    lastUse,
    records,
    resources: described,
    catalogueOf,
  });
  const registrations = createRegistrations({
    ...runtime,
    clients,
    rules: registrationRules,
    baseUrl,
    spend: spendOnRegistration(config.registration, records.budgets),
    async endGrantsOf(clientId) {
      await ofSignIns.endings.mark(["client", clientId], "client_removed");
      await endAll(() => grants.ofClient(clientId), "client_removed", grants);
    },
    audit,
  });
  const assertions = trustedAssertions({
    ...runtime,
    issuers: config.issuers.filter((issuer) => issuer.accept !== "access-token"),
    baseUrl,
    records,
    waitUntil: shutdown.waitUntil,
  });
  // An issuer that people sign in at knows this server as its client, whatever else it is trusted for.
  const verifyLogoutToken = async (token: string) => {
    const signsPeopleIn = identityProviders.ofIssuer(readJwt(token)?.issuer ?? "") !== undefined;
    const ofAssertions = signsPeopleIn ? undefined : assertions.verifyLogoutToken(token);
    return await (ofAssertions ?? identityProviders.ofToken(token).verifyLogoutToken(token));
  };
  const keysOfIdentities = identityKeys(config.secretKeys);
  const signIdentity = createSignIdentity({ ...runtime, keys: keysOfIdentities, issuer: baseUrl });
  const served = (each: DescribedResource) =>
    servedResource(each, {
      ...runtime,
      grantCache,
      takenBack,
      upstreamToken,
      exchangedTokens,
      issuers: config.issuers,
      keepClaims,
      signIdentity,
      shutdown,
      observe,
      endpoint,
    });
  const [first, ...others] = described;
  const resources: ProtectedResources<McpResource> = [served(first), ...others.map(served)];
  return {
    runtime,
    config,
    shutdown,
    metrics,
    audit,
    records,
    sealer,
    users,
    identityProviders,
    rememberedProvider: rememberedProvider(baseUrl, identityProviders),
    resources,
    catalogue,
    pages: createPages(config),
    identityKeys: keysOfIdentities,
    signIdentity,
    grantTypes,
    ...ofClients,
    registrations,
    ...ofSignIns,
    ...ofGrants,
    sessions: createSessions({ ...runtime, store: sessionStore, records, users, baseUrl }),
    connections,
    bodies,
    assertions,
    verifyLogoutToken,
  };
}

/** The identity providers, observed, with no more of a user's claims than is kept. */
function identityServices(
  options: Pick<AppOptions, "identityProviders">,
  { config, runtime, observe }: Foundation,
  described: ProtectedResources<DescribedResource>,
) {
  const deciding = () => decidingClaims(described[0].permissions, config.identityProviders);
  const keepClaims = createKeepClaims(deciding, runtime.log);
  const {
    identityProviders: providers = openIdentityProviders(config.identityProviders, config.baseUrl, runtime),
  } = options;
  const identityProviders = createIdentityProviders(
    decorated(providers, (each) =>
      observedIdentityProvider(
        each.settings.id,
        withBoundedClaims(withOwnEmails(each, providers), deciding, keepClaims),
        observe,
      ),
    ),
  );
  return { identityProviders, keepClaims };
}

/**
 * A registration counts by its size: one point up to 2 KB, six for the largest. So its limits bound the bytes that
 * strangers have stored: those of one hour, times the hours that an unused registration lives.
 */
function spendOnRegistration({ perAddressPerHour, perHour }: Config["registration"], budgets: Budgets) {
  const budget = { name: "registrations", points: perHour, seconds: 3_600 } as const;
  return (client: Client, address: string) =>
    // Where an operator allows fewer than six, a large one is all that an address may have.
    spend(budgets, budget, {
      address,
      perAddress: perAddressPerHour,
      cost: Math.min(costOf(client), perAddressPerHour),
    });
}
