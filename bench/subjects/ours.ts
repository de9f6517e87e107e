/**
 * This project as `npm start` runs it, with the benchmark's tools. (d) `guarded: false` leaves out the bearer check alone:
 * what it costs is the difference.
 */

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { RequestHandler } from "express";
import { pino } from "pino";
import { z } from "zod";
import { mount } from "../../dist/app.js";
import { loadConfig } from "../../dist/config.js";
import { requestFields } from "../../dist/http/current-request.js";
import { withCaller } from "../../dist/mcp/access-token-context.js";
import { defineTool } from "../../dist/mcp/define-tool.js";
import { buildRooms } from "../../dist/rooms.js";
import { redisRecords } from "../../dist/storage/redis.js";
import { systemClock } from "../../dist/surroundings.js";
import { createOidcProvider } from "../../dist/upstream/oidc.js";
import { forecast, toolNames } from "../tools.ts";
import { report, settings } from "./subject.ts";

const {
  tools: count,
  environment,
  guarded,
} = settings<{ environment: Record<string, string>; guarded: boolean }>();
const tools = toolNames(count).map((name) =>
  defineTool({
    name,
    description: "Weather for a city",
    scopes: ["weather:read"],
    input: z.object({ city: z.string().min(1) }),
    run: ({ city }) => forecast(city),
  }),
);
const config = loadConfig(environment);
const log = pino({ level: config.logLevel, base: null, mixin: requestFields });
if (config.store.kind !== "redis") throw new Error("The benchmark needs a real Redis");
const records = redisRecords({ ...config.store, log });
const identityProvider = createOidcProvider(config.upstream, { now: systemClock, randomBytes, log });
const rooms = buildRooms({
  config,
  tools,
  scopes: { "weather:read": "Read the weather" },
  records,
  identityProvider,
  log,
});

const token = Object.freeze({
  subject: "alice",
  clientId: "bench",
  scopes: ["weather:read"],
  claims: {},
  expiresAt: systemClock() + 86_400,
  resource: config.resource,
  grantId: "none",
  redirectUri: "http://127.0.0.1/callback",
});
const nobodyAsked: RequestHandler = (_req, _res, next) =>
  withCaller(
    { token, standing: rooms.permissions.standing(token, token.scopes), upstreamAccessToken: async () => "" },
    next,
  );

const { createApp } = await import("../../dist/app.js");
const app = guarded
  ? createApp({
      config,
      tools,
      scopes: { "weather:read": "Read the weather" },
      records,
      identityProvider,
      log,
    })
  : mount(rooms, nobodyAsked);
const server = createServer(app).listen(config.port, "127.0.0.1", () =>
  report({ port: (server.address() as AddressInfo).port }),
);
