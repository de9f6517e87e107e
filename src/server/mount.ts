/** buildApp: mounts every URL, with the services behind it. */
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from "express";
import { type AccountDependencies, connectionsEntrance, connectionsRoutes } from "../account/routes.ts";
import { type AuthorizationDependencies, authorizationRoutes } from "../authorization/routes.ts";
import { registrationRoutes } from "../clients/routes.ts";
import { withoutBasePath } from "../http/base-path.ts";
import { allowedOriginsOnly, openToAllOrigins } from "../http/cors.ts";
import { doctorView } from "../http/doctor-view.ts";
import { closingWhenStopping, healthRoutes } from "../http/health.ts";
import { metadataRoutes } from "../http/metadata.ts";
import { closedWithConnection } from "../http/pipelining.ts";
import { recordedHeaders } from "../http/recorded-headers.ts";
import { requestLog } from "../http/request-log.ts";
import { inOriginForm } from "../http/request-target.ts";
import { cutWhenStalled } from "../http/stalled-response.ts";
import { together } from "../http/together.ts";
import { STALL_MS } from "../mcp/transport/web-response.ts";
import { OAuthError } from "../oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../oauth/jwt.ts";
import { programAccess } from "../pages/connect.ts";
import { jsonErrors, pageErrors } from "../pages/error-handler.ts";
import { homeRoutes, peopleTo } from "../pages/home.ts";
import { iconRoutes } from "../pages/icon.ts";
import { bearerAuthentication } from "../resource/bearer-authentication.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { metricsRoutes } from "../telemetry/metrics-endpoint.ts";
import { measureRequests } from "../telemetry/request-metrics.ts";
import { traceRequests } from "../telemetry/spans.ts";
import { type TokenEndpointDependencies, tokenRoutes } from "../token-endpoint/routes.ts";
import type { McpResource } from "./resources.ts";
import { type AppOptions, buildServices, type Services } from "./services.ts";

export type { AppOptions } from "./services.ts";

/**
 * The whole server as an express application. It starts nothing by itself: listen with it, and close `records` after.
 * @throws Error if two features of a kind have one name, or one needs a scope that is not declared
 */
export function buildApp(options: AppOptions): Express {
  const services = buildServices(options);
  return mount(services, (resource) => authenticate(services, resource));
}

/** Mounts every URL; `authenticated` decides which requests reach a resource. */
export function mount(services: Services, authenticated: (resource: McpResource) => RequestHandler): Express {
  const { config, shutdown, metrics, records, resources, catalogue } = services;
  const { bodies, pages, sealer } = services;
  const { log, now } = services.runtime;
  const grantTypes = services.grantTypes.map(({ name }) => name);
  const { baseUrl, brand } = config;
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.set("query parser", "simple"); // repeated parameters become arrays, which are refused; no nested objects
  app.set("trust proxy", config.trustedProxies);
  app.use(
    together(
      closedWithConnection,
      closingWhenStopping(shutdown),
      cutWhenStalled(STALL_MS),
      inOriginForm,
      withoutBasePath(baseUrl),
      traceRequests,
      measureRequests(metrics, grantTypes),
      requestLog(log),
      recordedHeaders(pages.headers),
    ),
  );
  // First, because most requests are for them.
  for (const resource of resources)
    app.all(
      resource.path,
      allowedOriginsOnly(baseUrl, config.allowedOrigins),
      ...(pages.homeUrl === undefined ? [] : [peopleTo(pages.homeUrl)]),
      authenticated(resource),
      ...resource.handlers,
    );
  app.use(healthRoutes(records, shutdown), metricsRoutes(metrics, baseUrl, config.telemetry.metricsToken));
  app.use(doctorView({ sealer, now }), iconRoutes(brand));
  if (config.homePage) {
    const signInAt = services.identityProviders.all().map(({ shownAs }) => shownAs);
    const programs = programAccess(config);
    app.use(homeRoutes({ pages, brand, baseUrl, resource: resources[0], signInAt, programs }));
  }
  app.use(
    authorizationRoutes(authorizationDependencies(services)),
    connectionsRoutes(accountDependencies(services)),
  );
  app.use(openToAllOrigins);
  app.use(
    metadataRoutes(resources, {
      issuer: baseUrl,
      resources: resources.map(({ uri }) => uri),
      scopes: catalogue.names,
      offersDocuments: () => services.documents !== undefined && services.documentReach.works(),
      configuredClientsSign: config.clients.some(
        ({ token_endpoint_auth_method: method }) => method === "private_key_jwt",
      ),
      assertionAlgorithms: ASYMMETRIC_ALGORITHMS,
      identityAssertions: config.issuers.some(({ accept }) => accept === "id-jag"),
      grantTypes,
    }),
  );
  app.use(
    registrationRoutes({
      ...services.runtime,
      registrations: services.registrations,
      registration: config.registration,
      rateLimits: records.rateLimits,
      bodies,
    }),
  );
  app.use(tokenRoutes(tokenEndpointDependencies(services)));
  app.use(() => {
    const page = `There is nothing here. The MCP endpoint is ${resources.map(({ uri }) => uri).join(", or ")}.`;
    throw new OAuthError("invalid_request", page, { reason: "unknown_path", status: 404 });
  });
  const toPeople = pageErrors(log, baseUrl, pages);
  const toPrograms = jsonErrors(log);
  app.use(((error, req, res, next) => {
    const isPerson = req.get("accept")?.includes("text/html");
    return isPerson ? toPeople(error, req, res, next) : toPrograms(error, req, res, next);
  }) satisfies ErrorRequestHandler);
  return app;
}

function authorizationDependencies(services: Services): Runtime & AuthorizationDependencies {
  return {
    ...services.runtime,
    settings: services.config,
    browsers: services.browsers,
    connections: connectionsEntrance(accountDependencies(services)),
    clients: services.clients,
    redirectUris: services.redirectUris,
    rememberedConsent: services.rememberedConsent,
    grants: services.grants,
    endings: services.endings,
    stepUps: services.stepUps,
    logins: services.logins,
    records: services.records,
    identityProviders: services.identityProviders,
    rememberedProvider: services.rememberedProvider,
    sealer: services.sealer,
    resources: services.resources,
    pages: services.pages,
    bodies: services.bodies,
    audit: services.audit,
  };
}

function accountDependencies(services: Services): Runtime & AccountDependencies {
  return {
    ...services.runtime,
    settings: services.config,
    sessions: services.sessions,
    connections: services.connections,
    rememberedConsent: services.rememberedConsent,
    browsers: services.browsers,
    logins: services.logins,
    grants: services.grants,
    endings: services.endings,
    identityProviders: services.identityProviders,
    rememberedProvider: services.rememberedProvider,
    catalogue: services.catalogue,
    records: services.records,
    shutdown: services.shutdown,
    pages: services.pages,
    bodies: services.bodies,
    audit: services.audit,
  };
}

function tokenEndpointDependencies(services: Services): Runtime & TokenEndpointDependencies {
  return {
    ...services.runtime,
    settings: services.config,
    grantTypes: services.grantTypes,
    clients: services.clients,
    verifyAssertion: services.verifyAssertion,
    grants: services.grants,
    endings: services.endings,
    lastUse: services.lastUse,
    upstreamRefresh: services.upstreamRefresh,
    assertions: services.assertions,
    identityProviders: services.identityProviders,
    records: services.records,
    resources: services.resources,
    sessions: services.sessions,
    users: services.users,
    bodies: services.bodies,
    audit: services.audit,
  };
}

/** Whoever has an access token for the resource. */
export function authenticate(services: Services, resource: McpResource): RequestHandler {
  const { audit, lastUse } = services;
  const { now } = services.runtime;
  return bearerAuthentication({ resource, audit, noteUse: lastUse.note, now });
}
