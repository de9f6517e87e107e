/**
 * The metadata documents, at every place where clients look for them (RFC 9728 §3.1, RFC 8414 §3.1 and §5, OpenID Connect
 * Discovery 1.0 §4).
 */
import { type RequestHandler, Router } from "express";
import {
  authorizationServerMetadata,
  JWKS_PATH,
  type MetadataSettings,
  openIdProviderMetadata,
} from "../oauth/server-metadata.ts";
import { pathOf } from "./base-path.ts";
import { byPath } from "./by-path.ts";
import { refuseOtherMethods } from "./methods.ts";

/** The metadata document of a protected resource, and the resource's path below the issuer's. */
export interface ResourceDocument {
  path: string;
  metadata: object;
}

/**
 * Where a document is looked for that is about these paths. The specifications insert `.well-known` before the path of the
 * issuer or resource; clients of older MCP revisions append it.
 */
function locations(document: string, basePath: string, paths: readonly string[]): string[] {
  const inserted = paths.map((path) => `/.well-known/${document}${path}`);
  const underPath = paths.map((path) => `/.well-known/${document}${basePath}${path}`);
  const appended = paths.filter((path) => path !== "").map((path) => `${path}/.well-known/${document}`);
  return [...new Set([...inserted, ...underPath, ...appended])];
}

const CACHE_SECONDS = 300;

/**
 * @param resourceDocuments the first is also found where no path is given
 * @param settings.keySet the public keys by which backends recognize what this server tells them (RFC 7517 §5)
 * @param settings.offersDocuments whether Client ID Metadata Documents are offered just now: clients believe it for 300 s
 */
export function metadataRoutes(
  resourceDocuments: readonly ResourceDocument[],
  {
    offersDocuments,
    keySet,
    ...settings
  }: Omit<MetadataSettings, "clientIdMetadata"> & { offersDocuments(): boolean; keySet: object },
): RequestHandler {
  const basePath = pathOf(settings.issuer);
  const paths = ["", ...resourceDocuments.map(({ path }) => path)];
  const metadata = () => ({ ...settings, clientIdMetadata: offersDocuments() });
  const documents: Array<[paths: string[], document: () => object]> = [
    ...resourceDocuments.map((resource, index): [string[], () => object] => {
      const where = index === 0 ? ["", resource.path] : [resource.path];
      return [locations("oauth-protected-resource", basePath, where), () => resource.metadata];
    }),
    [locations("oauth-authorization-server", basePath, paths), () => authorizationServerMetadata(metadata())],
    [locations("openid-configuration", basePath, paths), () => openIdProviderMetadata(metadata())],
    [[JWKS_PATH], () => keySet],
  ];
  const routesOf = (path: string, document: () => object) =>
    Router()
      .get(
        path,
        (_req, res) => void res.set("Cache-Control", `public, max-age=${CACHE_SECONDS}`).json(document()),
      )
      .all(path, refuseOtherMethods("GET"));
  return byPath(
    documents.flatMap(([where, document]) => where.map((path) => [path, routesOf(path, document)] as const)),
  );
}
