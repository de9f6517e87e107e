/** The metadata documents, at every place where clients look for them (RFC 9728 §3.1, RFC 8414 §3.1 and §5). */
import { Router } from "express";
import {
  authorizationServerMetadata,
  type MetadataSettings,
  protectedResourceMetadata,
} from "../oauth/server-metadata.ts";
import { refuseOtherMethods } from "./methods.ts";

const PROTECTED_RESOURCE = [
  "/.well-known/oauth-protected-resource",
  "/.well-known/oauth-protected-resource/mcp",
  "/mcp/.well-known/oauth-protected-resource",
];

// OpenID Connect's location serves clients that look there only; the path forms come from older MCP revisions.
const AUTHORIZATION_SERVER = [
  "/.well-known/oauth-authorization-server",
  "/.well-known/oauth-authorization-server/mcp",
  "/mcp/.well-known/oauth-authorization-server",
  "/.well-known/openid-configuration",
  "/.well-known/openid-configuration/mcp",
  "/mcp/.well-known/openid-configuration",
];

const CACHE_SECONDS = 300;

export function metadataRoutes(settings: MetadataSettings): Router {
  const router = Router();
  const documents: Array<[string[], object]> = [
    [PROTECTED_RESOURCE, protectedResourceMetadata(settings)],
    [AUTHORIZATION_SERVER, authorizationServerMetadata(settings)],
  ];
  for (const [paths, document] of documents) {
    router.get(
      paths,
      (_req, res) => void res.set("Cache-Control", `public, max-age=${CACHE_SECONDS}`).json(document),
    );
    router.all(paths, refuseOtherMethods("GET"));
  }
  return router;
}
