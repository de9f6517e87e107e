/**
 * The metadata documents, at every place where clients look for them (RFC 9728 §3.1, RFC 8414 §3.1 and §5, OpenID Connect
 * Discovery 1.0 §4).
 */
import { Router } from "express";
import {
  authorizationServerMetadata,
  EMPTY_KEY_SET,
  JWKS_PATH,
  type MetadataSettings,
  openIdProviderMetadata,
  protectedResourceMetadata,
} from "../oauth/server-metadata.ts";
import { pathOf } from "./base-path.ts";
import { refuseOtherMethods } from "./methods.ts";

/**
 * Where a document is looked for. The specifications insert `.well-known` before the path of the issuer or resource;
 * clients of older MCP revisions append it.
 */
function locations(document: string, basePath: string): string[] {
  const inserted = ["", "/mcp"].map((path) => `/.well-known/${document}${path}`);
  const underPath = ["", "/mcp"].map((path) => `/.well-known/${document}${basePath}${path}`);
  return [...new Set([...inserted, ...underPath, `/mcp/.well-known/${document}`])];
}

const CACHE_SECONDS = 300;

/** @param settings.offersDocuments whether Client ID Metadata Documents are offered just now: clients believe it for 300 s */
export function metadataRoutes({
  offersDocuments,
  ...settings
}: Omit<MetadataSettings, "clientIdMetadata"> & { offersDocuments(): boolean }): Router {
  const router = Router();
  const basePath = pathOf(settings.issuer);
  const metadata = (clientIdMetadata: boolean) => ({ ...settings, clientIdMetadata });
  const ofResource = protectedResourceMetadata(metadata(false));
  const documents: Array<[paths: string[], document: () => object]> = [
    [locations("oauth-protected-resource", basePath), () => ofResource],
    [
      locations("oauth-authorization-server", basePath),
      () => authorizationServerMetadata(metadata(offersDocuments())),
    ],
    [locations("openid-configuration", basePath), () => openIdProviderMetadata(metadata(offersDocuments()))],
    [[JWKS_PATH], () => EMPTY_KEY_SET],
  ];
  for (const [paths, document] of documents) {
    router.get(
      paths,
      (_req, res) => void res.set("Cache-Control", `public, max-age=${CACHE_SECONDS}`).json(document()),
    );
    router.all(paths, refuseOtherMethods("GET"));
  }
  return router;
}
