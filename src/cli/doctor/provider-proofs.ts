/** What is presented to the provider: this server's own proof that it is its client and, as the control, a made-up one of the same form. */
import { KeyObject } from "node:crypto";
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from "jose";
import { type Credential, parseCredential, readCredentialText } from "../../identity/oidc/credential.ts";
import { type Way, waysToAuthenticate } from "../../identity/oidc/ways-to-authenticate.ts";
import { type IdentityProviderSettings, SECRET_METHODS } from "../../identity/settings.ts";
import type { Asked, ProviderMetadata } from "./provider-discovery.ts";

export interface Proof {
  kind: "secret" | "assertion";
  /** Whether the server itself would try it. */
  isOwn: boolean;
  ours: Way;
  madeUp: Way;
}

/** The server's own ways in its order, and after them others that would work by another setting. */
export async function proofsOf(asked: Asked, metadata: ProviderMetadata): Promise<[Proof, ...Proof[]]> {
  const { upstream } = asked;
  const credential = parseCredential(upstream.credential, readCredentialText(upstream.credential));
  const control = await madeUpLike(credential, asked.randomBytes);
  const kind = credential.kind === "secrets" ? "secret" : "assertion";
  const pairs = (settings: IdentityProviderSettings, isOwn: boolean) => {
    const madeUp = waysToAuthenticate(settings, [control], metadata, asked);
    const ours = waysToAuthenticate(settings, [credential], metadata, asked);
    return ours.map((each, index): Proof => ({ kind, isOwn, ours: each, madeUp: madeUp[index] as Way }));
  };
  const [first, ...own] = pairs(upstream, true);
  const known = [first, ...own].map((proof) => proof?.ours.method);
  const others = SECRET_METHODS.filter((method) => kind === "secret" && !known.includes(method));
  const otherwise = others.flatMap((method) =>
    pairs({ ...upstream, tokenEndpointAuthMethod: method }, false),
  );
  return [first as Proof, ...own, ...otherwise];
}

async function madeUpLike(credential: Credential, randomBytes: Asked["randomBytes"]): Promise<Credential> {
  switch (credential.kind) {
    case "secrets":
      return {
        ...credential,
        secrets: credential.secrets.map(() => randomBytes(32).toString("base64url")),
      };
    case "private_key":
      return { ...credential, key: await madeUpKey(credential.algorithm) };
    case "assertion": {
      const header = { ...decodeProtectedHeader(credential.assertion), alg: "ES256" };
      const signed = new SignJWT(decodeJwt(credential.assertion)).setProtectedHeader(header);
      return { ...credential, assertion: await signed.sign(await madeUpKey("ES256")) };
    }
  }
}

async function madeUpKey(algorithm: string): Promise<KeyObject> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return KeyObject.from(privateKey);
}
