/** createApp: mounts every URL on the rooms behind it. */
import express, { type ErrorRequestHandler, type Express } from "express";
import { authorizationRoutes } from "./authorization/routes.ts";
import { ASSERTION_ALGORITHMS } from "./clients/client-assertion.ts";
import { registrationRoutes } from "./clients/routes.ts";
import { withoutBasePath } from "./http/base-path.ts";
import { allowedOriginsOnly, openToAllOrigins } from "./http/cors.ts";
import { doctorView } from "./http/doctor-view.ts";
import { bodyError, jsonErrors, pageErrors } from "./http/error-handler.ts";
import { closingWhenStopping, healthRoutes } from "./http/health.ts";
import { homePage } from "./http/home.ts";
import { metadataRoutes } from "./http/metadata.ts";
import { refuseOtherMethods } from "./http/methods.ts";
import { requestLog } from "./http/request-log.ts";
import { bearerAuth } from "./mcp/bearer-auth.ts";
import { answerParseError, mcpEndpoint } from "./mcp/endpoint.ts";
import { OAuthError } from "./oauth/errors.ts";
import { type AppOptions, buildRooms, type Rooms } from "./rooms.ts";
import { metricsRoutes } from "./telemetry/metrics-endpoint.ts";
import { measureRequests } from "./telemetry/request-metrics.ts";
import { traceRequests } from "./telemetry/spans.ts";
import { upstreamAccessToken, verifyAccessToken } from "./tokens/access-token.ts";
import { tokenRoutes } from "./tokens/routes.ts";

export type { AppOptions } from "./rooms.ts";

/** The version that MCP clients are told. */
const VERSION = "0.1.0";

/**
 * The whole server as an express application. It starts nothing by itself: listen with it, and close `records` after.
 * @throws Error if two features of a kind have one name, or one needs a scope that is not declared
 */
export function createApp(options: AppOptions): Express {
  return mount(buildRooms(options));
}

function mount(rooms: Rooms): Express {
  const { config, lifecycle, metrics, records, features, catalogue, permissions, pages, audit, log } = rooms;
  const { baseUrl, resource, brand } = config;
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false);
  app.set("query parser", "simple"); // repeated parameters become arrays, which are refused; no nested objects
  app.set("trust proxy", config.trustedProxies);
  app.use(
    closingWhenStopping(lifecycle),
    withoutBasePath(baseUrl),
    traceRequests,
    measureRequests(metrics),
    requestLog(log),
    pages.headers,
  );
  app.use(healthRoutes(records, lifecycle), metricsRoutes(metrics, baseUrl, config.telemetry.metricsToken));
  app.use(doctorView(rooms));
  app.get("/", homePage(pages, resource, features.tools));
  app.all("/", refuseOtherMethods("GET"));
  app.use(authorizationRoutes(rooms));
  app.use("/mcp", ...allowedOriginsOnly(baseUrl, config.allowedOrigins));
  app.all(
    "/mcp",
    bearerAuth({
      verify: (token) => verifyAccessToken(token, { ...rooms, grants: rooms.grantCache, resource }),
      upstreamAccessToken: (token) => upstreamAccessToken(token, rooms),
      permissions,
      resource,
      scopes: catalogue.usual,
      audit,
    }),
    ...mcpEndpoint({
      features,
      name: brand.name,
      version: VERSION,
      resource,
      listAll: config.listed === "all",
      auditArguments: config.audit.arguments,
      audit,
      log,
    }),
    mcpErrors,
  );
  app.use(openToAllOrigins);
  app.use(
    metadataRoutes({
      issuer: baseUrl,
      resource,
      scopes: catalogue.names,
      usualScopes: catalogue.usual,
      name: brand.name,
      clientIdMetadata: rooms.documents !== undefined,
      assertionAlgorithms: ASSERTION_ALGORITHMS,
    }),
  );
  app.use(
    registrationRoutes({
      ...rooms,
      registration: config.registration,
      rateLimits: records.rateLimits,
    }),
  );
  app.use(tokenRoutes(rooms));
  app.use(() => {
    const page = `There is nothing here. The MCP endpoint is ${resource}.`;
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

/** A body that is no JSON is JSON-RPC's to answer; everything else is ours. */
const mcpErrors: ErrorRequestHandler = (error, _req, res, next) => {
  const unreadable = bodyError(error);
  if (unreadable === undefined) return next(error);
  res.locals.reason = unreadable.reason;
  answerParseError(res, unreadable.status);
};
