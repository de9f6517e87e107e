/**
 * A platform that says which program is running, as a Kubernetes cluster does with the tokens of service accounts: its
 * metadata, its keys, and the TokenRequest API. A real one gives a token to the pod that runs as the account; this one gives it
 * to whoever asks, as the login page asks nobody for a password.
 */
import { randomUUID } from "node:crypto";
import type { RequestListener } from "node:http";
import { json as readJson } from "node:stream/consumers";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

/** Kubernetes gives none for less. */
const LEAST_SECONDS = 600;

const TOKEN_REQUEST = /^\/api\/v1\/namespaces\/([a-z0-9-]+)\/serviceaccounts\/([a-z0-9-]+)\/token$/;

/** @param issuer where it is reached: a URL with a path and no trailing slash */
export async function createPlatform(issuer: string): Promise<RequestListener> {
  const alg = "ES256";
  const kid = randomUUID();
  const { privateKey, publicKey } = await generateKeyPair(alg);
  const keys = { keys: [{ ...(await exportJWK(publicKey)), alg, kid, use: "sig" }] };
  const metadata = {
    issuer,
    jwks_uri: `${issuer}/openid/v1/jwks`,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: [alg],
  };
  const documents: Readonly<Record<string, object>> = {
    "/.well-known/openid-configuration": metadata,
    "/openid/v1/jwks": keys,
  };

  const sign = (namespace: string, name: string, audiences: string[], now: number) =>
    new SignJWT({ "kubernetes.io": { namespace, serviceaccount: { name } } })
      .setProtectedHeader({ alg, kid })
      .setIssuer(issuer)
      .setSubject(`system:serviceaccount:${namespace}:${name}`)
      .setAudience(audiences)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + LEAST_SECONDS)
      .sign(privateKey);

  const { pathname: base } = new URL(issuer);
  return async (req, res) => {
    const answer = (status: number, body: object) =>
      res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const path = (req.url ?? "").slice(base.length);
    const document = req.method === "GET" ? documents[path] : undefined;
    if (document !== undefined) return void answer(200, document);
    const [, namespace, name] = (req.method === "POST" && TOKEN_REQUEST.exec(path)) || [];
    if (namespace === undefined || name === undefined) return void answer(404, failure("NotFound"));
    const audiences = audiencesOf(await readJson(req).catch(() => undefined));
    if (audiences === undefined) return void answer(422, failure("spec.audiences is missing"));
    const now = Math.floor(Date.now() / 1000);
    answer(201, {
      kind: "TokenRequest",
      apiVersion: "authentication.k8s.io/v1",
      spec: { audiences, expirationSeconds: LEAST_SECONDS },
      status: {
        token: await sign(namespace, name, audiences, now),
        expirationTimestamp: new Date((now + LEAST_SECONDS) * 1000).toISOString(),
      },
    });
  };
}

function audiencesOf(request: unknown): string[] | undefined {
  const audiences = (request as { spec?: { audiences?: unknown } } | undefined)?.spec?.audiences;
  const areNamed = Array.isArray(audiences) && audiences.length > 0;
  return areNamed && audiences.every((each) => typeof each === "string") ? audiences : undefined;
}

function failure(message: string): object {
  return { kind: "Status", apiVersion: "v1", status: "Failure", message };
}
