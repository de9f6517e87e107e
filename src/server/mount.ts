/** buildApp: mounts every URL, with the services behind it. */
import type { RequestListener } from "node:http";
import express, { type ErrorRequestHandler, type Express, type RequestHandler, Router } from "express";
import { type AccountDependencies, connectionsEntrance, connectionsRoutes } from "../account/routes.ts";
import { type AuthorizationDependencies, authorizationRoutes } from "../authorization/routes.ts";
import { registrationRoutes } from "../clients/routes.ts";
import { pathOf, withoutBasePath } from "../http/base-path.ts";
import { byLongestPath, byPath } from "../http/by-path.ts";
import { type ClientAddresses, clientAddresses } from "../http/client-address.ts";
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
import { STALL_MS } from "../mcp/transport/event-stream.ts";
import { OAuthError } from "../oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../oauth/jwt.ts";
import { programAccess } from "../pages/connect.ts";
import { jsonErrors, pageErrors } from "../pages/error-handler.ts";
import { homeRoutes, peopleTo } from "../pages/home.ts";
import { iconRoutes } from "../pages/icon.ts";
import { type Authenticate, bearerAuthentication } from "../resource/bearer-authentication.ts";
import {
  answerCheck,
  CHECK_PATH,
  type CheckedResource,
  malformedIsMissing,
  proxiesOnly,
} from "../resource/forward-auth.ts";
import type { PlainAnswer } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { metricsRoutes } from "../telemetry/metrics-endpoint.ts";
import { measureRequests } from "../telemetry/request-metrics.ts";
import { traceRequests } from "../telemetry/spans.ts";
import { type TokenEndpointDependencies, tokenRoutes } from "../token-endpoint/routes.ts";
import type { McpResource } from "./resources.ts";
import { type AppOptions, buildServices, type Services } from "./services.ts";
import { answerRequest, straightWay, takeFailed } from "./straight-way.ts";

export type { AppOptions } from "./services.ts";

/** The whole server. Whoever lists its routes finds them in the router: a resource's are there, too, for what is not ordinary. */
export type MountedApp = RequestListener & Pick<Express, "router">;

/**
 * It starts nothing by itself: listen with it, and close `records` after.
 * @throws Error if two features of a kind have one name, or one needs a scope that is not declared
 */
export function buildApp(options: AppOptions): MountedApp {
  return mount(buildServices(options), bearerTokens);
}

/** Who sends the requests to a resource. */
export type AuthenticateAt = (
  resource: McpResource,
  services: Services,
  addresses: ClientAddresses,
) => Authenticate;

/** Mounts every URL; `authenticateAt` decides which requests reach a resource. */
export function mount(services: Services, authenticateAt: AuthenticateAt): MountedApp {
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
  const addresses = clientAddresses(app);
  const authenticate = (resource: McpResource) => authenticateAt(resource, services, addresses);
  app.use(takeFailed, resourceRoutes(services, authenticate), checkRoutes(services, authenticate));
  const asked = resources.flatMap(({ health }) => health);
  app.use(
    healthRoutes(records, shutdown, asked),
    metricsRoutes(metrics, baseUrl, config.telemetry.metricsToken),
  );
  app.use(doctorView({ sealer, now }), iconRoutes(brand));
  if (config.homePage) {
    const signInAt = services.identityProviders.all().map(({ shownAs }) => shownAs);
    const programs = programAccess(config);
    const [resource, ...further] = resources;
    app.use(homeRoutes({ pages, brand, baseUrl, resource, further, signInAt, programs }));
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
      keySet: services.identityKeys.published,
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
  const always = together(
    closedWithConnection,
    closingWhenStopping(shutdown),
    cutWhenStalled(STALL_MS),
    inOriginForm,
    withoutBasePath(baseUrl),
    traceRequests(addresses),
    measureRequests(metrics, grantTypes),
    requestLog(log),
    recordedHeaders(pages.headers),
  );
  const straight = resources.map((resource) => {
    const { path, answer } = resource;
    return { path, authenticate: authenticate(resource), answer };
  });
  return Object.assign(straightWay(always, straight, app), { router: app.router });
}

/** Whatever is sent to a protected resource, and is not answered on the straight way. */
function resourceRoutes(
  { config, pages, resources }: Services,
  authenticate: (resource: McpResource) => Authenticate,
): RequestHandler {
  const { baseUrl, allowedOrigins } = config;
  const routesOf = (resource: McpResource) =>
    Router().all(
      resource.path,
      allowedOriginsOnly(baseUrl, allowedOrigins),
      ...(pages.homeUrl === undefined ? [] : [peopleTo(pages.homeUrl)]),
      behind(authenticate(resource), resource.answer),
    );
  return byPath(resources.map((resource) => [resource.path, routesOf(resource)]));
}

/** What reverse proxies ask about requests to a protected resource behind them. */
function checkRoutes(
  services: Services,
  authenticate: (resource: McpResource) => Authenticate,
): RequestHandler {
  const { config, resources } = services;
  const routesOf = (path: string, resource: McpResource & CheckedResource) =>
    Router().all(
      // Envoy puts the path that was asked for behind it.
      `${path}{/*rest}`,
      proxiesOnly(resource, pathOf(config.baseUrl), resources),
      malformedIsMissing,
      behind(authenticate(resource), answerCheck(resource, services)),
    );
  const checked = resources.filter(isChecked).map((resource) => {
    const path = `${CHECK_PATH}${resource.path}`;
    return [path, routesOf(path, resource)] as const;
  });
  return byLongestPath(checked);
}

function isChecked(resource: McpResource): resource is McpResource & CheckedResource {
  return resource.forwardAuth !== undefined;
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
    resources: services.resources,
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
    verifyLogoutToken: services.verifyLogoutToken,
    records: services.records,
    resources: services.resources,
    sessions: services.sessions,
    users: services.users,
    bodies: services.bodies,
    audit: services.audit,
  };
}

/** Whoever has an access token for the resource. */
export const bearerTokens: AuthenticateAt = (resource, services, { addressOf }) => {
  const { audit, lastUse } = services;
  const { now } = services.runtime;
  return bearerAuthentication({ resource, audit, noteUse: lastUse.note, addressOf, now });
};

/** What is behind the bearer check, for express. */
function behind(authenticate: Authenticate, answer: PlainAnswer): RequestHandler {
  return (req, res) => answerRequest(req, res, { authenticate, answer });
}
