/** The metadata documents, at every place where clients look for them (RFC 9728 §3.1, RFC 8414 §3.1 and §5). */
import { Router } from "express";
import {
  authorizationServerMetadata,
  type MetadataSettings,
  protectedResourceMetadata,
} from "../oauth/server-metadata.ts";
import { pathOf } from "./base-path.ts";
import { refuseOtherMethods } from "./methods.ts";

const PROTECTED_RESOURCE = ["oauth-protected-resource"];
// OpenID Connect's location serves clients that look there only.
const AUTHORIZATION_SERVER = ["oauth-authorization-server", "openid-configuration"];

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
  const documents: Array<[string[], () => object]> = [
    [PROTECTED_RESOURCE, () => ofResource],
    [AUTHORIZATION_SERVER, () => authorizationServerMetadata(metadata(offersDocuments()))],
  ];
  for (const [names, document] of documents) {
    const paths = names.flatMap((name) => locations(name, basePath));
    router.get(
      paths,
      (_req, res) => void res.set("Cache-Control", `public, max-age=${CACHE_SECONDS}`).json(document()),
    );
    router.all(paths, refuseOtherMethods("GET"));
  }
  return router;
}
